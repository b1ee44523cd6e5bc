"""Results drawn as tables, JSON and CSV.  Views read results and compute nothing."""
