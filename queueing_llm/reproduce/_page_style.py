"""How the page looks, in the light and in the dark."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6570; --line: #d7dce1;
  --paper: #fff; --good: #00714f; --other: #8a5a00; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #9aa5b0; --line: #363d45;
  --paper: #14181c; --good: #4cc9a0; --other: #e3b04b; --bad: #ff8a80; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 75rem; margin: 0 auto; padding: 1.5rem; }
h1 { margin: 0 0 .25rem; } h2 { margin: 3rem 0 .25rem; border-top: 2px solid var(--line);
  padding-top: 1rem; } h3 { margin: 2rem 0 .5rem; font-size: 1.05rem; }
p { margin: .25rem 0; } .soft, small { color: var(--soft); font-size: .85rem; }
small { display: block; } pre, code { font: .85rem ui-monospace, monospace; }
img { display: block; max-width: min(100%, 56rem); background: #fff; margin: .5rem 0;
  border: 1px solid var(--line); border-radius: 4px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem;
  border-bottom: 1px solid var(--line); } td:first-child { min-width: 20rem; }
.value { font-variant-numeric: tabular-nums; } .badge { white-space: nowrap; font-weight: 600; }
.reproduced { color: var(--good); } .differs { color: var(--other); }
.failed, .too-noisy { color: var(--bad); } .not-tried { color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; font-size: .85rem;
  color: var(--soft); margin-top: 3rem; } dd { margin: 0; } a { color: inherit; }
"""
