"""Links of the built site: every target is there, and nothing is loaded from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
FOLLOWED = {("a", "href"), *LOADED}
HARMLESS = {"canonical", "alternate", "prev", "next"}  # of <link>: named, not loaded


@dataclass
class _Page(HTMLParser):
    """What a page refers to, and the anchors that it has."""

    anchors: set[str] = field(default_factory=set)
    targets: list[tuple[str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect anchors and addresses of one tag."""
        given = dict(attrs)
        self.anchors |= {given[key] or "" for key in ("id", "name") if given.get(key)}
        named = tag == "link" and given.get("rel") in HARMLESS
        for key, value in attrs:
            if (tag, key) in FOLLOWED and value:
                self.targets.append((value, (tag, key) in LOADED and not named))


def broken_links(html: Path) -> list[str]:
    """Check every page of a built site.

    Returns:
        A line a defect, none if all is well: a page, file or anchor that is not there; something that a
        page loads from another host.
    """
    read = cache(_read)
    defects = []
    for path in sorted(html.rglob("*.html")):
        if path.name == "404.html" or "viz" in path.relative_to(html).parts:
            continue  # addresses of these are those of the server's root, and kedro-viz's own
        for target, loaded in read(path).targets:
            why = _defect(html, path, target, loaded=loaded, read=read)
            if why:
                defects.append(f"{path.relative_to(html)}: {target}: {why}")
    return defects


def _defect(html: Path, path: Path, target: str, *, loaded: bool, read: object) -> str:
    parts = urlsplit(target)
    if parts.scheme in ("http", "https") or parts.netloc:
        return "loaded from another host" if loaded else ""
    if parts.scheme:
        return ""  # mailto:, data:
    found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    found = found / "index.html" if found.is_dir() else found
    if not found.is_file() or not found.is_relative_to(html.resolve()):
        return "not there"
    if parts.fragment and found.suffix == ".html" and unquote(parts.fragment) not in read(found).anchors:  # type: ignore[operator]
        return "no such anchor"
    return ""


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf8"))
    return page
