// Package versus puts a package of weir beside the same thing of DPDK or of the kernel, in a test of that package. DPDK's is a
// program (perf/dpdk) that runs as a process of its own and takes turns with the test on one CPU, a few tens of milliseconds each:
// so whatever the machine does, it does to both, and the ratio of a round is worth something where its times are not.
package versus
