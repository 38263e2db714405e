"""Damaged data sets: each reader may give tables or refuse with a typed error; anything else is a find.

`seeds` cuts small data sets, of `write_sample` and of the real files; `damage`, `structured` and `guided`
damage them; `attempts` reads them within bounds. `python -m fuzzing --help` says how to run it at length.
"""
