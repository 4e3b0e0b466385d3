// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/*
 * if-counters: packets and bytes by interface, direction and IP protocol, from XDP or tcx. packet.h
 * says what the protocol is; packets without one are counted under 256, so that the sum over all
 * protocols is all that passed.
 *
 * Attach either xdp_count or tcx_ingress to an interface: with both, ingress counts twice.
 *
 * Bytes are the length of the Ethernet frame as each hook sees it, without the frame check sequence:
 *  - XDP sees what the driver received, before any merging of segments. It expects Ethernet.
 *  - tcx sees the kernel's buffer: on ingress behind GRO, on egress ahead of segmentation, so merged
 *    segments are one packet; a VLAN tag that the kernel keeps beside the packet is not in the bytes.
 *    On a device without a link header, bytes begin at the IP header.
 */
#include "packet.h"

enum direction {
	INGRESS = 0,
	EGRESS = 1,
};

/* No padding: whatever is in the key tells entries apart. */
struct if_key {
	__u32 ifindex;
	enum direction direction;
	__u32 protocol;
};

struct if_stats {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct if_key);
	__type(value, struct if_stats);
} if_counters SEC(".maps");

/* Packets that were not counted because if_counters is full. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} if_missed SEC(".maps");

static __noinline void count(__u32 ifindex, enum direction direction, __u32 protocol, __u64 bytes)
{
	struct if_key key = { .ifindex = ifindex, .direction = direction, .protocol = protocol };
	struct if_stats *stats = bpf_map_lookup_elem(&if_counters, &key);

	if (!stats) {
		const struct if_stats none = {};

		/* It may fail because another CPU was first: only the second lookup tells. */
		bpf_map_update_elem(&if_counters, &key, &none, BPF_NOEXIST);
		stats = bpf_map_lookup_elem(&if_counters, &key);
	}
	if (!stats) {
		const __u32 only = 0;
		__u64 *missed = bpf_map_lookup_elem(&if_missed, &only);

		if (missed)
			(*missed)++;
		return;
	}
	/* Packets are handled with bottom halves off: nobody else on this CPU is in here. */
	stats->packets++;
	stats->bytes += bytes;
}

static __always_inline long load_from_frame(void *xdp, __u32 offset, void *to, __u32 length)
{
	return bpf_xdp_load_bytes(xdp, offset, to, length);
}

SEC("xdp")
int xdp_count(struct xdp_md *xdp)
{
	__u32 protocol = ethernet_protocol(xdp, load_from_frame);

	count(xdp->ingress_ifindex, INGRESS, protocol, bpf_xdp_get_buff_len(xdp));
	return XDP_PASS;
}

#define TCX_NEXT -1 /* linux/bpf.h has it since 6.6 */

SEC("tcx/ingress")
int tcx_ingress(struct __sk_buff *skb)
{
	count(skb->ifindex, INGRESS, skb_ip_protocol(skb), skb->len);
	return TCX_NEXT;
}

SEC("tcx/egress")
int tcx_egress(struct __sk_buff *skb)
{
	count(skb->ifindex, EGRESS, skb_ip_protocol(skb), skb->len);
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
