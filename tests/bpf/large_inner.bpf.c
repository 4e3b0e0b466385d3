// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* A map of maps of which each would take 256 MiB: the kernel makes one to look at. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct large {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << 15);
	__type(key, __u32);
	__type(value, __u64[1 << 10]);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct large);
} outer SEC(".maps");

char LICENSE[] SEC("license") = "Dual MIT/GPL";
