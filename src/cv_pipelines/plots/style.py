"""The style sheet of the pages: light, system fonts, readable on a phone and in print."""

from __future__ import annotations

STYLE = """\
:root { --ink: #1f2933; --soft: #5b6673; --line: #e1e6ec; --ground: #f5f7fa; --accent: #2f5f9e; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 3.2rem; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 Inter, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif; }
header, main { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 32px; padding-bottom: 12px; }
h1 { margin: 0; font-size: 28px; line-height: 1.25; overflow-wrap: anywhere; }
header p { margin: 6px 0 0; color: var(--soft); font-size: 16px; }
h2 { margin: 0 0 12px; font-size: 19px; }
h3 { margin: 24px 0 8px; font-size: 15px; }
p { max-width: 78ch; margin: 0 0 12px; }
a { color: var(--accent); }
nav { position: sticky; top: 0; z-index: 9; display: flex; flex-wrap: wrap; gap: 4px 20px;
  margin-bottom: 20px; padding: 10px max(24px, calc((100vw - 1180px) / 2 + 24px));
  background: rgba(255, 255, 255, .94);
  border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); font-size: 14px; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
section { margin: 0 0 20px; padding: 22px 24px; background: #fff;
  border: 1px solid var(--line); border-radius: 10px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 0 0 18px; }
.tile { flex: 1 1 150px; padding: 14px 18px; background: var(--ground); border-radius: 8px; }
.tile b { display: block; font-size: 27px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.table { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); }
th, td { padding: 6px 14px 6px 0; vertical-align: top; }
td { border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.word { overflow-wrap: normal; }
td:first-child { font-weight: 600; overflow-wrap: normal; }
table.keyed td:first-child { width: 1%; padding-right: 40px; white-space: nowrap; }
td.thumbnail { width: 1%; padding-top: 8px; padding-bottom: 8px; }
td.thumbnail img { display: block; max-width: 120px; max-height: 80px; border-radius: 4px; }
tr:last-child td { border-bottom: 0; }
tr.more td { color: var(--soft); font-style: italic; font-weight: 400; }
.sortable th { cursor: pointer; white-space: nowrap; }
.sortable td:first-child { white-space: nowrap; }
.sortable ~ .figure { margin-top: 16px; }
.sortable th:hover { color: var(--ink); }
.sortable th[aria-sort=descending]::after { content: " ↓"; }
.sortable th[aria-sort=ascending]::after { content: " ↑"; }
.empty, .note { color: var(--soft); }
.figure { width: 100%; }
.table + .figure { margin-top: 16px; }
pre { margin: 0 0 14px; padding: 10px 14px; background: var(--ground); border-radius: 8px; overflow-x: auto;
  font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px;
  margin: 0 0 18px; }
.pictures figure { display: flex; flex-direction: column; justify-content: space-between; margin: 0; }
.pictures img { width: 100%; }
.pictures.wide { grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); }
.pictures.full { grid-template-columns: 1fr; }
.browse figure { justify-content: flex-start; }
.pictures figure[hidden] { display: none; }
.kinds { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 14px; font-size: 14px; }
.chip { display: inline-block; margin: 0 6px 2px 0; padding: 0 8px; border-radius: 8px; color: #fff;
  font-size: 12px; }
figcaption { margin: 0 0 6px; color: var(--soft); font-size: 13px; }
ul { margin: 0; padding-left: 20px; }
@media print { nav { display: none; } section { break-inside: avoid; border: 0; } body { background: #fff; } }
"""
