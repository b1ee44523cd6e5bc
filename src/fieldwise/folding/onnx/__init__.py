"""A plan carried out on an ONNX file: what is written is the file, changed where it has to be.

nodes    which node of the file made which calls, and what of a plan the file can take
edit     a graph being changed: constants, nodes that go, values that are called otherwise
realise  a plan as such changes
save     the changed file on disk
runtime  the file before and after, in ONNX Runtime
"""
