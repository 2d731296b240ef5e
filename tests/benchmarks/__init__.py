"""Benchmarks: ours beside the peers and beside the machine's own floor, on data of known spectrum, as one table.

data      matrices whose singular values and vectors are known exactly
floor     what the machine needs at least: reading, decoding, bare products
methods   one function per method, ours and the peers'
child     runs one method in a process of its own, and scores its answer
watch     runs a child and samples memory and bytes read of its process tree
suites    which methods meet which case at which scale
table     records -> Markdown
"""
