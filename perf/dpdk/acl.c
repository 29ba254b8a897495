/*
 * acl: DPDK's classifier, rte_acl, as a peer of weir's rules.
 *
 *	acl EAL-ARGUMENTS -- RULES PACKETS
 *
 * builds what a file of rules, the first one first, comes to, answers "built NS BYTES", and takes the commands
 *
 *	classify IMPLEMENTATION PASSES       → NS
 *	answers IMPLEMENTATION FILE          → done; the file has the number of the first rule that matches for every packet,
 *	                                       from 1, 32 bits each; 0 is none
 *
 * where IMPLEMENTATION is "scalar", "avx2" or "avx512", and times are the thread's own.
 */
#include "peer.h"

#include <rte_acl.h>

enum { PROTO, SRC, DST, MARK, IIF, TOS, SPORT, DPORT, FIELDS };

/* A packet, in the wire's order, as rte_acl wants it: one byte first, then groups of four. */
struct packet {
	uint8_t proto, unused[3];
	uint8_t src[4], dst[4], mark[4];
	uint8_t iif[2], tos[2];
	uint8_t sport[2], dport[2];
};

/* A rule, in the machine's order: for each field a value and its prefix length, mask, or upper end. */
struct rule {
	uint32_t value[FIELDS], mask[FIELDS];
};

#define FIELD(number, kind, group, member) {.type = RTE_ACL_FIELD_TYPE_##kind, .size = sizeof ((struct packet *)0)->member, \
	.field_index = number, .input_index = group, .offset = offsetof(struct packet, member)}

static const struct rte_acl_field_def fields[FIELDS] = {
	FIELD(PROTO, BITMASK, 0, proto), FIELD(SRC, MASK, 1, src), FIELD(DST, MASK, 2, dst), FIELD(MARK, BITMASK, 3, mark),
	FIELD(IIF, BITMASK, 4, iif), FIELD(TOS, BITMASK, 4, tos), FIELD(SPORT, RANGE, 5, sport), FIELD(DPORT, RANGE, 5, dport),
};

RTE_ACL_RULE_DEF(acl_rule, FIELDS);

static struct rte_acl_ctx *build(const struct rule *rules, size_t n)
{
	struct rte_acl_param param = {.name = "acl", .socket_id = SOCKET_ID_ANY, .rule_size = RTE_ACL_RULE_SZ(FIELDS), .max_rule_num = n};
	struct rte_acl_config config = {.num_categories = 1, .num_fields = FIELDS};
	struct rte_acl_ctx *acl = rte_acl_create(&param);
	int e;

	if (!acl)
		errx(1, "create: %s", rte_strerror(rte_errno));
	memcpy(config.defs, fields, sizeof fields);
	for (size_t i = 0; i < n; i++) {
		struct acl_rule r = {.data = {.category_mask = 1, .priority = n - i, .userdata = i + 1}};

		for (int f = 0; f < FIELDS; f++) {
			switch (fields[f].size) {
			case 1:
				r.field[f].value.u8 = rules[i].value[f], r.field[f].mask_range.u8 = rules[i].mask[f];
				break;
			case 2:
				r.field[f].value.u16 = rules[i].value[f], r.field[f].mask_range.u16 = rules[i].mask[f];
				break;
			default:
				r.field[f].value.u32 = rules[i].value[f], r.field[f].mask_range.u32 = rules[i].mask[f];
			}
		}
		if ((e = rte_acl_add_rules(acl, (struct rte_acl_rule *)&r, 1)))
			errx(1, "add rule %zu: %s", i, strerror(-e));
	}
	if ((e = rte_acl_build(acl, &config)))
		errx(1, "build: %s", strerror(-e));
	return acl;
}

static enum rte_acl_classify_alg algorithm(const char *name)
{
	if (!strcmp(name, "avx512"))
		return RTE_ACL_CLASSIFY_AVX512X32;
	if (!strcmp(name, "avx2"))
		return RTE_ACL_CLASSIFY_AVX2;
	return RTE_ACL_CLASSIFY_SCALAR;
}

static void classify(struct rte_acl_ctx *acl, struct packet *packets, size_t n, enum rte_acl_classify_alg alg, uint32_t *results)
{
	const uint8_t *data[BATCH];

	for (size_t i = 0; i + BATCH <= n; i += BATCH) {
		for (int j = 0; j < BATCH; j++)
			data[j] = (uint8_t *)&packets[i + j];
		if (rte_acl_classify_alg(acl, data, results, BATCH, 1, alg))
			errx(1, "that implementation is not to be had");
		results += BATCH;
	}
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);
	char line[4096], file[3072], implementation[16];
	size_t rule_count, n, heap;
	struct packet *packets;
	struct rte_acl_ctx *acl;
	unsigned int passes;
	struct rule *rules;
	uint32_t *results;
	uint64_t began;

	if (used < 0)
		errx(1, "rte_eal_init: %s", rte_strerror(rte_errno));
	if (argc - used != 3)
		errx(1, "usage: acl EAL-ARGUMENTS -- RULES PACKETS");
	rules = read_file(argv[used + 1], sizeof *rules, &rule_count);
	packets = read_file(argv[used + 2], sizeof *packets, &n);
	results = calloc(n, sizeof *results);

	heap = heap_used();
	began = thread_time();
	acl = build(rules, rule_count);
	printf("built %" PRIu64 " %zu\n", thread_time() - began, heap_used() - heap);
	fflush(stdout);

	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "classify %15s %u", implementation, &passes) == 2) {
			began = thread_time();
			for (unsigned int pass = 0; pass < passes; pass++)
				classify(acl, packets, n, algorithm(implementation), results);
			printf("%" PRIu64 "\n", thread_time() - began);
		} else if (sscanf(line, "answers %15s %3071s", implementation, file) == 2) {
			classify(acl, packets, n, algorithm(implementation), results);
			write_file(file, results, n * sizeof *results);
			printf("done\n");
		} else {
			errx(1, "unknown command: %s", line);
		}
		fflush(stdout);
	}
	return 0;
}
