/*
 * What the peers of DPDK have in common: each is a process that reads commands from its standard input, a line each, does
 * what it is told, and answers with a line. Who starts it takes turns with it, on one CPU, so that both meet the same
 * machine.
 */
#pragma once

#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_malloc.h>

#define BATCH 64 /* lookups at a time, as weir has it */

static inline uint64_t thread_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* A file as memory of our own. */
static inline void *read_file(const char *name, size_t size, size_t *count)
{
	struct stat st;
	char *data;
	int fd = open(name, O_RDONLY);

	if (fd < 0 || fstat(fd, &st) < 0)
		err(1, "%s", name);
	data = malloc(st.st_size);
	if (!data)
		err(1, "%s", name);
	for (ssize_t n, at = 0; at < st.st_size; at += n)
		if ((n = read(fd, data + at, st.st_size - at)) <= 0)
			err(1, "%s", name);
	close(fd);
	*count = st.st_size / size;
	return data;
}

static inline void write_file(const char *name, const void *data, size_t size)
{
	FILE *f = fopen(name, "w");

	if (!f || fwrite(data, 1, size, f) != size || fclose(f))
		err(1, "%s", name);
}

/* What DPDK's own heap has given out. */
static inline size_t heap_used(void)
{
	struct rte_malloc_socket_stats stats;
	size_t sum = 0;

	for (int i = 0; i < RTE_MAX_NUMA_NODES; i++)
		if (rte_malloc_get_socket_stats(i, &stats) == 0)
			sum += stats.heap_allocsz_bytes;
	return sum;
}

static inline int compare_times(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}
