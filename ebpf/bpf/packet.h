/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * Which IP protocol a packet carries.
 *
 * What counts as the protocol:
 *  - IPv4: the protocol field, in every fragment.
 *  - IPv6: the upper-layer protocol behind the extension headers (hop-by-hop, routing, fragment,
 *    destination options, authentication). A fragment other than the first is counted by what its
 *    fragment header names, for the rest of the chain is in the first one.
 *  - VLAN tags (802.1Q, 802.1ad) are passed over: one that the kernel keeps beside the packet and
 *    two within it.
 *
 * A packet cut short is counted by the last header it has whole: an IP header cut short names
 * nothing, so the packet has NO_IP_PROTOCOL; an IPv6 extension header that is cut short, or the
 * ninth in a row, is itself the last thing known, so the packet has that extension's number.
 * Whether the named protocol's own header follows is not looked at.
 */
#ifndef BPFGATE_PACKET_H
#define BPFGATE_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Not IP, or not enough of it to tell. No IP protocol has more than 8 bits. */
#define NO_IP_PROTOCOL 256

#define MAX_VLAN_TAGS 2
#define MAX_IPV6_EXTENSIONS 8

/*
 * Copies `length` bytes at `offset`, counted from where the function's name says. Not 0: they are
 * not all there. Always inlined with a known function, so no indirect call remains.
 */
typedef long (*load_fn)(void *packet, __u32 offset, void *to, __u32 length);

struct vlan_tag {
	__be16 tci;
	__be16 encapsulated;
};

/* The beginning that all IPv6 extension headers share, and the offset of a fragment. */
struct ipv6_extension {
	__u8 next;
	__u8 length;
	__be16 fragment_offset;
};

static __always_inline __u32 ipv4_protocol(void *packet, load_fn load, __u32 offset)
{
	struct iphdr ip;

	if (load(packet, offset, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return NO_IP_PROTOCOL;
	return ip.protocol;
}

static __always_inline __u32 ipv6_protocol(void *packet, load_fn load, __u32 offset)
{
	struct ipv6_extension extension;
	struct ipv6hdr ip;
	__u32 next;

	if (load(packet, offset, &ip, sizeof(ip)) || ip.version != 6)
		return NO_IP_PROTOCOL;
	next = ip.nexthdr;
	offset += sizeof(ip);

	/* Unrolled, the programs would be three times as long. */
#pragma clang loop unroll(disable)
	for (int i = 0; i < MAX_IPV6_EXTENSIONS; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING &&
		    next != IPPROTO_FRAGMENT && next != IPPROTO_DSTOPTS && next != IPPROTO_AH)
			return next;
		if (load(packet, offset, &extension, sizeof(extension)))
			return next;

		if (next == IPPROTO_FRAGMENT) {
			if (extension.fragment_offset & bpf_htons(0xfff8))
				return extension.next;
			offset += 8;
		} else if (next == IPPROTO_AH) {
			offset += (extension.length + 2) * 4;
		} else {
			offset += (extension.length + 1) * 8;
		}
		next = extension.next;
	}
	return next;
}

/* `load` counts from the Ethernet header. */
static __always_inline __u32 ethernet_protocol(void *packet, load_fn load)
{
	__u32 offset = offsetof(struct ethhdr, h_proto);
	struct vlan_tag tag;
	__be16 type;

	if (load(packet, offset, &type, sizeof(type)))
		return NO_IP_PROTOCOL;
	offset += sizeof(type);

	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		if (load(packet, offset, &tag, sizeof(tag)))
			return NO_IP_PROTOCOL;
		type = tag.encapsulated;
		offset += sizeof(tag);
	}

	if (type == bpf_htons(ETH_P_IP))
		return ipv4_protocol(packet, load, offset);
	if (type == bpf_htons(ETH_P_IPV6))
		return ipv6_protocol(packet, load, offset);
	return NO_IP_PROTOCOL;
}

/*
 * The two below first try the part of the packet that the kernel knows to hold the headers, which
 * is right on any device but ends where the buffer's linear part does; a driver may leave headers
 * in page fragments. Those are reached from the packet's start, which on an Ethernet device is the
 * Ethernet header. For a packet without fragments the second try fails as the first did.
 */
static __always_inline long load_from_network(void *skb, __u32 offset, void *to, __u32 length)
{
	if (!bpf_skb_load_bytes_relative(skb, offset, to, length, BPF_HDR_START_NET))
		return 0;
	return bpf_skb_load_bytes(skb, ETH_HLEN + offset, to, length);
}

static __always_inline long load_from_mac(void *skb, __u32 offset, void *to, __u32 length)
{
	if (!bpf_skb_load_bytes_relative(skb, offset, to, length, BPF_HDR_START_MAC))
		return 0;
	return bpf_skb_load_bytes(skb, offset, to, length);
}

/*
 * The kernel has already looked behind the link header and a tag it keeps beside the packet
 * (vlan_present), so skb->protocol and the network header hold on devices without a link header
 * too (tun, wireguard). Only behind a tag within the packet do they disagree on the way out: there
 * the frame is read from its start.
 */
static __noinline __u32 skb_ip_protocol(struct __sk_buff *skb)
{
	__u32 type = skb->protocol;

	if (type == bpf_htons(ETH_P_IP))
		return ipv4_protocol(skb, load_from_network, 0);
	if (type == bpf_htons(ETH_P_IPV6))
		return ipv6_protocol(skb, load_from_network, 0);
	if (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD))
		return ethernet_protocol(skb, load_from_mac);
	return NO_IP_PROTOCOL;
}

#endif
