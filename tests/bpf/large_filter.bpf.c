// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* A bloom filter that takes 16 MiB, for its fifteen hash functions: five would take a quarter. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 4000000);
	__uint(map_extra, 15);
	__type(value, __u64);
} filter SEC(".maps");

char LICENSE[] SEC("license") = "Dual MIT/GPL";
