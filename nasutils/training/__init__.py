"""The loops: searches, final networks, and what both share.

search: the bilevel loop. finalnet: training and testing of a derived network, by a protocol.
selection: taking a trained supernet apart. experiment: a search as a value. computation: how such
a value is computed, and kept in a run folder. classifier, weights: trained weights, kept and given
back. loop, batchnorm, cuda_graphs: what the loops are made of.
"""
