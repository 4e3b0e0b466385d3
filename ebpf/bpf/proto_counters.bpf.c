// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/*
 * proto-counters: packets and bytes by IP protocol, seen from a packet socket that is bound to one
 * interface. packet.h says what the protocol is; packets without one are not counted.
 *
 * Bytes are the length of the packet in the kernel's buffer, link header included (14 for Ethernet)
 * on a SOCK_RAW socket. They lack a VLAN tag that the kernel keeps beside the packet, and the
 * checksum that the hardware adds. Segments that offloading has merged (GRO, GSO) are one packet.
 */
#include "packet.h"

#define LOOPBACK_IFINDEX 1 /* in every network namespace */
#define PACKET_OUTGOING 4  /* linux/if_packet.h */

struct proto_stats {
	__u64 packets;
	__u64 bytes;
};

/* Bytes by IP protocol: one number over all CPUs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} by_proto SEC(".maps");

/* The same with packets, by CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct proto_stats);
} stats SEC(".maps");

SEC("socket")
int count_protocols(struct __sk_buff *skb)
{
	/* Nothing reaches the socket's queue. */
	const int drop = 0;
	struct proto_stats *stat;
	__u32 protocol;
	__u64 *bytes;

	/* A packet socket sees all that loopback carries twice: sent, then received. */
	if (skb->ifindex == LOOPBACK_IFINDEX && skb->pkt_type == PACKET_OUTGOING)
		return drop;

	/* NO_IP_PROTOCOL is past the end of both arrays. */
	protocol = skb_ip_protocol(skb);
	bytes = bpf_map_lookup_elem(&by_proto, &protocol);
	stat = bpf_map_lookup_elem(&stats, &protocol);
	if (!bytes || !stat)
		return drop;

	__sync_fetch_and_add(bytes, skb->len);
	/* Packets are handled with bottom halves off: nobody else on this CPU is in here. */
	stat->packets++;
	stat->bytes += skb->len;
	return drop;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
