"""The documentation site: pages written by hand in `docs/`, a reference made from the code, the graph.

`python -m docsite` gathers them in `site/pages` and builds `site/html` with Zensical, which is not imported:
the reference can be made, and tested, without it.
"""
