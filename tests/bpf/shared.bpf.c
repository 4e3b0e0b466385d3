// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* One map, which another object's may stand in for, or one pinned by its name if libbpf had its way. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} pinned SEC(".maps");

SEC("socket")
int count(struct __sk_buff *skb)
{
	__u32 key = 7;
	__u64 one = 1, *have = bpf_map_lookup_elem(&packets, &key);

	if (have)
		__sync_fetch_and_add(have, 1);
	else
		bpf_map_update_elem(&packets, &key, &one, BPF_ANY);
	key = 0;
	have = bpf_map_lookup_elem(&pinned, &key);
	if (have)
		__sync_fetch_and_add(have, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
