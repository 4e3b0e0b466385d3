// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* Maps whose entries only programs make: storage of the cgroups they run in, and stacks. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* Whose stacks are taken. */
const volatile char watched[16] = "";

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, struct bpf_cgroup_storage_key);
	__type(value, __u64);
} by_cgroup SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE);
	__type(key, struct bpf_cgroup_storage_key);
	__type(value, __u64);
} by_cgroup_cpu SEC(".maps");

SEC("cgroup_skb/egress")
int counts(struct __sk_buff *skb)
{
	__u64 *count = bpf_get_local_storage(&by_cgroup, 0);
	__u64 *count_here = bpf_get_local_storage(&by_cgroup_cpu, 0);

	__sync_fetch_and_add(count, 1);
	*count_here += 1;
	return 1;
}

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 16 * sizeof(__u64));
} stacks SEC(".maps");

SEC("raw_tp/sys_enter")
int takes_stack(void *ctx)
{
	char comm[16];

	if (bpf_get_current_comm(comm, sizeof(comm)))
		return 0;
	for (int i = 0; i < 16; i++) {
		if (comm[i] != watched[i])
			return 0;
		if (!comm[i])
			break;
	}
	bpf_get_stackid(ctx, &stacks, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
