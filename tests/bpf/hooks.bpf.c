// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/*
 * A program for every kind of section that the agent attaches, named as libbpf's users name them.
 * Each counts its calls in a slot of its own, so that a test sees it fire and stop.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* Only threads of this name are counted by the programs that see the whole host; empty: none. */
const volatile char watched[16] = "";

enum hook {
	ON_XDP,
	ON_TCX_INGRESS,
	ON_TCX_EGRESS,
	ON_SOCKET,
	ON_TP,
	ON_TRACEPOINT,
	ON_RAW_TP,
	ON_RAW_TRACEPOINT,
	ON_CGROUP_EGRESS,
	ON_CGROUP_INGRESS,
	ON_UPROBE,
	ON_URETPROBE,
	ON_PERF_EVENT,
	ON_TC,
	ON_CLASSIFIER,
	HOOKS,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HOOKS);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

/* A subprogram, which each program takes along. */
static __noinline int hit(__u32 hook)
{
	__u64 *hits_here = bpf_map_lookup_elem(&hits, &hook);

	if (hits_here)
		__sync_fetch_and_add(hits_here, 1);
	return 0;
}

static __always_inline int is_watched(void)
{
	char comm[16];

	if (!watched[0] || bpf_get_current_comm(comm, sizeof(comm)))
		return 0;
	for (int i = 0; i < 16; i++) {
		if (comm[i] != watched[i])
			return 0;
		if (!comm[i])
			break;
	}
	return 1;
}

SEC("xdp")
int on_xdp(struct xdp_md *ctx)
{
	hit(ON_XDP);
	return XDP_PASS;
}

/* Loaded only if asked for, which nobody does. */
SEC("?xdp")
int left_out(struct xdp_md *ctx)
{
	return XDP_DROP;
}

#define TCX_NEXT -1 /* linux/bpf.h has it since 6.6 */

SEC("tcx/ingress")
int on_tcx_ingress(struct __sk_buff *skb)
{
	hit(ON_TCX_INGRESS);
	return TCX_NEXT;
}

SEC("tcx/egress")
int on_tcx_egress(struct __sk_buff *skb)
{
	hit(ON_TCX_EGRESS);
	return TCX_NEXT;
}

SEC("tc")
int on_tc(struct __sk_buff *skb)
{
	hit(ON_TC);
	return TCX_NEXT;
}

SEC("classifier")
int on_classifier(struct __sk_buff *skb)
{
	hit(ON_CLASSIFIER);
	return TCX_NEXT;
}

SEC("socket")
int on_socket(struct __sk_buff *skb)
{
	return hit(ON_SOCKET);
}

SEC("tp/syscalls/sys_enter_getppid")
int on_tp(void *ctx)
{
	return is_watched() ? hit(ON_TP) : 0;
}

SEC("tracepoint/syscalls/sys_exit_getppid")
int on_tracepoint(void *ctx)
{
	return is_watched() ? hit(ON_TRACEPOINT) : 0;
}

#if defined(__TARGET_ARCH_x86)
#define NR_GETPPID 110
#else
#define NR_GETPPID 173 /* asm-generic */
#endif

SEC("raw_tp/sys_enter")
int on_raw_tp(struct bpf_raw_tracepoint_args *ctx)
{
	return ctx->args[1] == NR_GETPPID && is_watched() ? hit(ON_RAW_TP) : 0;
}

SEC("raw_tracepoint")
int on_raw_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
	return is_watched() ? hit(ON_RAW_TRACEPOINT) : 0;
}

SEC("cgroup_skb/egress")
int on_cgroup_egress(struct __sk_buff *skb)
{
	hit(ON_CGROUP_EGRESS);
	return 1;
}

SEC("cgroup_skb/ingress")
int on_cgroup_ingress(struct __sk_buff *skb)
{
	hit(ON_CGROUP_INGRESS);
	return 1;
}

SEC("uprobe")
int on_uprobe(void *ctx)
{
	return hit(ON_UPROBE);
}

SEC("uretprobe")
int on_uretprobe(void *ctx)
{
	return hit(ON_URETPROBE);
}

SEC("perf_event")
int on_perf_event(void *ctx)
{
	return hit(ON_PERF_EVENT);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
