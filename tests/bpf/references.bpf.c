// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/*
 * Maps whose slots lead to something else, and programs that go there. What each does is counted,
 * so that a test sees whether a slot works.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

enum place {
	ENTERED,	/* before a tail call that led nowhere */
	LANDED,		/* behind a tail call */
	ON_PORT,	/* in a device's own program */
	ON_CPU,		/* in a CPU's own program */
	IN_CGROUP,	/* a system call of a task in the cgroup */
	PLACES,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

static __always_inline int hit(__u32 place)
{
	__u64 *count = bpf_map_lookup_elem(&hits, &place);

	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} jumps SEC(".maps");

SEC("socket")
int enter(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jumps, 1);
	return hit(ENTERED);
}

SEC("socket")
int land(struct __sk_buff *skb)
{
	return hit(LANDED);
}

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} ports SEC(".maps");

SEC("xdp")
int forward(struct xdp_md *ctx)
{
	return bpf_redirect_map(&ports, 2, XDP_PASS);
}

SEC("xdp/devmap")
int at_port(struct xdp_md *ctx)
{
	hit(ON_PORT);
	return XDP_PASS;
}

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct bpf_cpumap_val);
} queues SEC(".maps");

SEC("xdp")
int spread(struct xdp_md *ctx)
{
	return bpf_redirect_map(&queues, 0, XDP_ABORTED);
}

SEC("xdp/cpumap")
int at_cpu(struct xdp_md *ctx)
{
	hit(ON_CPU);
	return XDP_PASS;
}

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} groups SEC(".maps");

SEC("raw_tp/sys_enter")
int in_group(void *ctx)
{
	return bpf_current_task_under_cgroup(&groups, 1) == 1 ? hit(IN_CGROUP) : 0;
}

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
	__array(values, struct inner);
} tables SEC(".maps");

/* Which of the tables counts packets. */
SEC("socket")
int tally(struct __sk_buff *skb)
{
	__u32 which = 7, first = 0;
	void *table = bpf_map_lookup_elem(&tables, &which);
	__u64 *count = table ? bpf_map_lookup_elem(table, &first) : 0;

	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} by_socket SEC(".maps");

/* Packets by the socket that sends them. */
SEC("cgroup_skb/egress")
int sends(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;
	__u64 *count = sk ? bpf_sk_storage_get(&by_socket, sk, 0, BPF_SK_STORAGE_GET_F_CREATE) : 0;

	if (count)
		__sync_fetch_and_add(count, 1);
	return 1;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
