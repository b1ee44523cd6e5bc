"""The micro-suite and the zoo sample wait for ``fieldwise.fold.fold``, which is not built yet."""

import fieldwise.fold

collect_ignore = (
    [] if hasattr(fieldwise.fold, "fold") else ["test_micro_suite.py", "test_zoo_sample.py"]
)
