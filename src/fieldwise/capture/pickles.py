"""Files whose loading unpickles them, which may run any code; fieldwise loads none."""

PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".tar"}
"""Their usual suffixes."""
