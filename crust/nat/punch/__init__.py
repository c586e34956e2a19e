"""
Ways through NATs that both ends work on together.

contract                     what a method promises and may ask for: plans and actions
allowance, bystanders        how much may be sent where, for one peer and for all of them
runner                       carries out one plan, with hands
udp_hand, tcp_hand           do what plans ask for
udp_desk, udp_sockets        bring datagrams to the hand: those of listening sockets, those of its own
places, targets, standing    what an end tells of itself, what of the other's is tried, how routers choose ports
probe_packet, encounter      sealed probes, and how two ends agree on a way
udp_ways, tcp_ways           between which networks each method works; by ``prospects``
punch_udp, punch_tcp         both ends at the same moment, from their listening ports
predict_udp, predict_tcp     the same towards ports that a router is going to choose
birthday_udp, birthday_tcp   the same from and to many ports, until two of them meet
udp_signals, tcp_signals     what the two ends of a method tell each other; made of ``signals``
"""
