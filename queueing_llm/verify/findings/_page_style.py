"""What a page looks like: one style sheet, light and dark, wide and narrow."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --card: #ffffff; --ink: #1c2330; --soft: #586274; --line: #dde1e7;
  --prefill: #2b66a8; --decode: #217a58; --lost: #b3400e; --waits: #9aa3b0;
  --holds: #1d7044; --violated: #b42318; --undecided: #8a5a00; --band: #b4231822; --on: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171c; --card: #1b1f26; --ink: #e7eaef; --soft: #a0a9b7; --line: #323945;
    --prefill: #4f8fd6; --decode: #35a378; --lost: #f0803c; --waits: #6b7583;
    --holds: #58c48a; --violated: #ff8177; --undecided: #e3b04b; --band: #ff817733;
    --on: #0c1016;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 76rem; padding: 2rem 1.25rem 3rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .25rem; }
p { margin: .35rem 0; max-width: 48rem; }
a { color: inherit; }
code, pre, .name { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .9em; }
.soft, small { color: var(--soft); }
.counts { display: flex; flex-wrap: wrap; gap: .4rem; padding: 0; margin: .75rem 0; }
.counts li { list-style: none; }
.badge {
  display: inline-block; border: 1.5px solid currentColor; border-radius: 1rem;
  padding: 0 .6rem; font-size: .82rem; font-weight: 600; white-space: nowrap;
}
.holds { color: var(--holds); } .violated { color: var(--violated); }
.undecided { color: var(--undecided); }
table { border-collapse: collapse; width: 100%; font-size: .92rem; table-layout: fixed; }
.broken {
  display: grid; gap: 1rem; margin: 1rem 0; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr));
}
th, td {
  text-align: left; vertical-align: top; padding: .5rem .9rem .5rem 0;
  border-top: 1px solid var(--line);
}
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: .85rem; }
tbody th { font-weight: 400; } tbody th .name { font-weight: 600; }
tbody th small { display: block; }
td a { display: block; font-size: .85rem; }
.c1 { width: 28%; } .c2 { width: 11%; } .c3 { width: 24%; } .c4 { width: 16%; }
article {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1rem 1.1rem; min-width: 0;
}
.wrong { font-weight: 600; color: var(--violated); }
/* What does not fit is cut off at the left: the step that matters is the last one. */
figure { margin: .75rem 0; overflow-x: auto; direction: rtl; }
figure svg { direction: ltr; margin-right: auto; }
.long { grid-column: 1 / -1; }
figcaption { color: var(--soft); font-size: .85rem; }
pre {
  background: var(--paper); border: 1px solid var(--line); border-radius: 6px;
  padding: .75rem; overflow-x: auto; font-size: .8rem; line-height: 1.45; margin: .5rem 0 0;
}
summary { cursor: pointer; color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0; }
dt { font-weight: 600; } dd { margin: 0; color: var(--soft); }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .85rem; }
svg { display: block; font: 12px system-ui, sans-serif; }
svg text { text-anchor: middle; fill: var(--ink); }
svg .label { text-anchor: start; fill: var(--soft); }
svg .step, svg .count { fill: var(--soft); }
svg .flag { fill: var(--violated); font-size: 11px; font-weight: 600; }
svg .breach { fill: var(--band); }
svg .box text { fill: var(--on); font-weight: 600; } svg .box .long { font-size: 9px; }
svg .prefill rect, svg .bar.prefill { fill: var(--prefill); }
svg .decode rect, svg .bar.decode { fill: var(--decode); }
svg .waits rect { fill: none; stroke: var(--waits); stroke-dasharray: 3 3; }
svg .preempted rect, svg .unread rect { fill: none; stroke: var(--lost); stroke-width: 2; }
svg .waits text { fill: var(--waits); }
svg .preempted text, svg .unread text { fill: var(--lost); }
svg .budget { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 6 4; }
svg .floor { stroke: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; padding: 0; margin: .25rem 0; }
.legend li { list-style: none; display: flex; align-items: center; gap: .4rem; }
.key { width: .9rem; height: .9rem; border-radius: 3px; border: 2px solid transparent; }
.key.prefill { background: var(--prefill); } .key.decode { background: var(--decode); }
.key.preempted { border-color: var(--lost); } .key.breach { background: var(--band); }
.key.waits { border: 1.5px dashed var(--waits); }
.key.budget { height: 0; border: 0; border-top: 2px dashed var(--ink); border-radius: 0; }
@media (max-width: 46rem) {
  body { padding: 1.25rem 1rem 2rem; }
  table, tbody, tr, tbody th, td { display: block; width: auto; }
  thead { position: absolute; left: -999rem; }
  tbody tr { border-top: 1px solid var(--line); padding: .7rem 0; }
  tbody th, td { border: 0; padding: .12rem 0; }
  td a { display: inline; margin-left: .4rem; }
  td::before { content: attr(data-label) ": "; color: var(--soft); }
  dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; }
}
@media print { body { max-width: none; } article, tr { break-inside: avoid; } }
"""
"""The style sheet: no font, picture or script comes from anywhere else."""
