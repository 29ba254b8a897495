/*
 * fib: the forwarding tables of DPDK, rte_fib (DIR24_8, next hops of 2 bytes) and rte_fib6 (TRIE), as a peer of weir's.
 *
 *	fib EAL-ARGUMENTS -- 4|6 ROUTES ADDRESSES …
 *
 * builds the table of a file of routes, answers "built NS BYTES NEXTHOP-BYTES", and takes the commands
 *
 *	lookup ADDRESSES IMPLEMENTATION PASSES       → NS
 *	answers ADDRESSES IMPLEMENTATION FILE        → done; the file has the next hop of every address, 16 bits each
 *	update FILE                                  → NS P50 P99 REFUSED
 *
 * where ADDRESSES is the number of a file, IMPLEMENTATION "scalar" or "avx512", and times are the thread's own.
 */
#include "peer.h"

#include <rte_fib.h>
#include <rte_fib6.h>

#define NO_ROUTE 1000

struct route {
	uint8_t addr[16]; /* IPv4: the first four */
	uint8_t depth;
	uint8_t remove;
	uint16_t hop;
};

static struct rte_fib *fib;
static struct rte_fib6 *fib6;

static uint32_t word(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
}

static int change(struct route *r)
{
	if (fib)
		return r->remove ? rte_fib_delete(fib, word(r->addr), r->depth) : rte_fib_add(fib, word(r->addr), r->depth, r->hop);
	return r->remove ? rte_fib6_delete(fib6, r->addr, r->depth) : rte_fib6_add(fib6, r->addr, r->depth, r->hop);
}

/* Next hops of 2 bytes leave 15 bits to number blocks with: enough for IPv4's Internet, not for IPv6's. */
static int create(int four, size_t routes)
{
	if (four) {
		struct rte_fib_conf c = {.type = RTE_FIB_DIR24_8, .default_nh = NO_ROUTE, .max_routes = routes,
			.dir24_8 = {.nh_sz = RTE_FIB_DIR24_8_2B, .num_tbl8 = (1 << 15) - 1}};

		fib = rte_fib_create("fib", SOCKET_ID_ANY, &c);
		return fib ? 2 : 0;
	}
	struct rte_fib6_conf c = {.type = RTE_FIB6_TRIE, .default_nh = NO_ROUTE, .max_routes = routes,
		.trie = {.nh_sz = RTE_FIB6_TRIE_4B, .num_tbl8 = 1 << 18}};

	fib6 = rte_fib6_create("fib6", SOCKET_ID_ANY, &c);
	return fib6 ? 4 : 0;
}

static void choose(const char *implementation)
{
	int vector = !strcmp(implementation, "avx512"), e;

	if (fib)
		e = rte_fib_select_lookup(fib, vector ? RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512 : RTE_FIB_LOOKUP_DIR24_8_SCALAR_MACRO);
	else
		e = rte_fib6_select_lookup(fib6, vector ? RTE_FIB6_LOOKUP_TRIE_VECTOR_AVX512 : RTE_FIB6_LOOKUP_TRIE_SCALAR);
	if (e)
		errx(1, "%s is not to be had", implementation);
}

static void lookup(void *addresses, size_t at, uint64_t *hops)
{
	if (fib)
		rte_fib_lookup_bulk(fib, (uint32_t *)addresses + at, hops, BATCH);
	else
		rte_fib6_lookup_bulk(fib6, (uint8_t (*)[16])addresses + at, hops, BATCH);
}

static void update(struct route *routes, size_t n)
{
	uint64_t *took = calloc(n, sizeof *took), all = thread_time(), refused = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t begin = thread_time();

		if (change(&routes[i]) && !routes[i].remove)
			refused++;
		took[i] = thread_time() - begin;
	}
	all = thread_time() - all;
	qsort(took, n, sizeof *took, compare_times);
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", all, took[n / 2], took[n * 99 / 100], refused);
	free(took);
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv), four, width;
	size_t n, heap, counts[8];
	void *addresses[8];
	char line[4096], file[3072], implementation[16];
	uint64_t began, hops[BATCH];
	struct route *routes;

	if (used < 0)
		errx(1, "rte_eal_init: %s", rte_strerror(rte_errno));
	argc -= used, argv += used;
	if (argc < 4 || argc > 3 + 8)
		errx(1, "usage: fib EAL-ARGUMENTS -- 4|6 ROUTES ADDRESSES …");
	four = !strcmp(argv[1], "4");
	routes = read_file(argv[2], sizeof *routes, &n);
	for (int i = 3; i < argc; i++)
		addresses[i - 3] = read_file(argv[i], four ? 4 : 16, &counts[i - 3]);

	heap = heap_used();
	began = thread_time();
	if (!(width = create(four, n)))
		errx(1, "create: %s", rte_strerror(rte_errno));
	for (size_t i = 0; i < n; i++) {
		int e = change(&routes[i]);

		if (e)
			errx(1, "add route %zu: %s", i, strerror(-e));
	}
	printf("built %" PRIu64 " %zu %d\n", thread_time() - began, heap_used() - heap, width);
	fflush(stdout);

	while (fgets(line, sizeof line, stdin)) {
		unsigned int which, passes;

		if (sscanf(line, "lookup %u %15s %u", &which, implementation, &passes) == 3 && which < (unsigned)argc - 3) {
			choose(implementation);
			began = thread_time();
			for (unsigned int pass = 0; pass < passes; pass++)
				for (size_t i = 0; i + BATCH <= counts[which]; i += BATCH)
					lookup(addresses[which], i, hops);
			printf("%" PRIu64 "\n", thread_time() - began);
		} else if (sscanf(line, "answers %u %15s %3071s", &which, implementation, file) == 3 && which < (unsigned)argc - 3) {
			uint16_t *all = calloc(counts[which], sizeof *all);

			choose(implementation);
			for (size_t i = 0; i + BATCH <= counts[which]; i += BATCH) {
				lookup(addresses[which], i, hops);
				for (int j = 0; j < BATCH; j++)
					all[i + j] = hops[j];
			}
			write_file(file, all, counts[which] * sizeof *all);
			free(all);
			printf("done\n");
		} else if (sscanf(line, "update %3071s", file) == 1) {
			routes = read_file(file, sizeof *routes, &n);
			update(routes, n);
		} else {
			errx(1, "unknown command: %s", line);
		}
		fflush(stdout);
	}
	return 0;
}
