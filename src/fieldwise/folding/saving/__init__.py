"""A folded model in files, each checked as it was written.

place      the files that an OUT stands for, checked before anything long is done
saved      what was written, as data
other_sizes at which other sizes of its inputs a model runs
program    an exported program with axes of any size, compared at other sizes
structure  what folding did to the modules of a model, as data
state      weights as safetensors, and a model of the same class that takes them
times      how long runs take before and after, in turns
write      all of it together
"""
