"""The loops: searches, final networks, and what both share.

search: the bilevel loop. finalnet: training and testing of a derived network, by a protocol.
experiment: a search as a value, and how it runs in a folder. loop, batchnorm, graphs: what the
loops are made of.
"""
