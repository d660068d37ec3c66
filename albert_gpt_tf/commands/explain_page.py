"""The HTML page of an explanation: coloured text, scores and attention maps in one file."""

import base64
import html
import json
from string import Template

import numpy as np

from albert_gpt_tf.tasks.attributions import Explanation, Span

_MOST_LABELS = 20
_MOST_TOKENS = 128  # of an attention map: what 12 layers of 12 heads need is 3 MB then

# Blue and orange can be told apart with every kind of colour blindness; parts against the label are also underlined by
# dots. Colours are laid over the page's own background, which is light or dark.
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1b1b1b; --soft: #5f5f5f; --line: #d5d5d5; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181c; --ink: #ececec; --soft: #a5a8ae; --line: #3a3d44; }
}
body { background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; max-width: 56rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p.note { color: var(--soft); font-size: .9rem; }
.text { border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; line-height: 2; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.text span { border-radius: 3px; padding: .15em 0; }
.for { border-bottom: 2px solid transparent; } .against { border-bottom: 2px dotted currentColor; }
table { border-collapse: collapse; width: 100%; } th { font-weight: normal; text-align: left; }
td, th { padding: .2rem .5rem; }
td.number { text-align: right; font-variant-numeric: tabular-nums; width: 5rem; }
td.bar { width: 60%; } .bar div { background: #0072b2; height: .9rem; border-radius: 2px; min-width: 1px; }
tr.best th { font-weight: 600; }
select { font: inherit; } canvas { max-width: 100%; margin-top: .6rem; display: block; }
</style>
</head>
<body>
<h1>$heading</h1>
$scores
<h2>Where it comes from</h2>
$texts
<p class="note">Blue speaks for the answer, orange with dots against it; the strongest piece is $strongest. Point at a
piece to see its part. $sum</p>
<h2>Attention</h2>
<p><label>Layer <select id="layer"></select></label> <label>Head <select id="head"></select></label>
<output id="cell"></output></p>
<canvas id="map" role="img" aria-label="Attention of each token, a row, to each token, a column"></canvas>
<p class="note">Each row is a token that reads, each column a token that is read; darker blue is more attention.
$cropped</p>
<script type="application/json" id="data">$data</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const bytes = Uint8Array.from(atob(data.attentions), function (c) { return c.charCodeAt(0); });
const n = data.tokens.length, canvas = document.getElementById("map"), context = canvas.getContext("2d");
const layer = document.getElementById("layer"), head = document.getElementById("head");
const cell = Math.max(5, Math.min(24, Math.floor(640 / n))), margin = cell >= 9 ? 110 : 8;
function fill(select, count) {
  for (let i = 0; i < count; i += 1) select.add(new Option(String(i + 1), String(i)));
  select.add(new Option("mean", "mean"));
  select.addEventListener("change", draw);
}
function value(query, key) {
  const layers = layer.value === "mean" ? [...Array(data.layers).keys()] : [Number(layer.value)];
  const heads = head.value === "mean" ? [...Array(data.heads).keys()] : [Number(head.value)];
  let sum = 0;
  for (const l of layers) for (const h of heads) sum += bytes[((l * data.heads + h) * n + query) * n + key];
  return sum / (255 * layers.length * heads.length);
}
function draw() {
  const ratio = window.devicePixelRatio || 1, size = margin + n * cell + 1;
  canvas.width = size * ratio; canvas.height = size * ratio; canvas.style.width = size + "px";
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const style = getComputedStyle(document.documentElement);
  context.strokeStyle = style.getPropertyValue("--line");
  context.strokeRect(margin, margin, n * cell, n * cell);
  for (let q = 0; q < n; q += 1) for (let k = 0; k < n; k += 1) {
    context.fillStyle = "rgba(30, 136, 229, " + Math.sqrt(value(q, k)) + ")";
    context.fillRect(margin + k * cell, margin + q * cell, cell, cell);
  }
  if (cell < 9) return;
  context.fillStyle = style.getPropertyValue("--ink");
  context.font = Math.min(cell - 1, 13) + "px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (let i = 0; i < n; i += 1) {
    context.textAlign = "right";
    context.fillText(data.tokens[i], margin - 5, margin + (i + 0.5) * cell, margin - 8);
    context.save();
    context.translate(margin + (i + 0.5) * cell, margin - 5);
    context.rotate(-Math.PI / 2);
    context.textAlign = "left";
    context.fillText(data.tokens[i], 0, 0, margin - 8);
    context.restore();
  }
}
canvas.addEventListener("mousemove", function (event) {
  const box = canvas.getBoundingClientRect(), scale = (margin + n * cell + 1) / box.width;
  const k = Math.floor(((event.clientX - box.left) * scale - margin) / cell);
  const q = Math.floor(((event.clientY - box.top) * scale - margin) / cell);
  const inside = k >= 0 && q >= 0 && k < n && q < n;
  document.getElementById("cell").textContent = inside
    ? data.tokens[q] + " \\u2192 " + data.tokens[k] + ": " + value(q, k).toFixed(2) : "";
});
fill(layer, data.layers);
fill(head, data.heads);
head.value = "mean";
layer.value = String(data.layers - 1);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
</script>
</body>
</html>
""")


def explanation_page(explanation: Explanation, texts: list[str]) -> str:
    """An explanation as a page that needs no other file.

    Args:
        explanation: what `explain` gives.
        texts: list of str, the text, or the two of a pair.

    Returns:
        HTML, str.

    Example:
        >>> Path("explain.html").write_text(explanation_page(explain(classifier, "a fox"), ["a fox"]))
        31415
    """
    label, scores = explanation.label, explanation.scores
    heading = f"Value {scores['value']:.4f}" if label is None else f"{label}: {scores[label]:.1%}"
    what = "value" if label is None else f"log-odds of {label}"
    sum_of_parts = (
        f"The pieces add up to {explanation.attributions.sum():+.3f}, which leads from {explanation.baseline:.3f}, the "
        f"{what} with {explanation.baseline_token} in place of every token, to {explanation.explained:.3f}."
    )
    largest = max((abs(span.attribution) for span in explanation.spans), default=0.0)
    tokens = explanation.tokens[:_MOST_TOKENS]
    attentions = explanation.attentions[:, :, : len(tokens), : len(tokens)]
    data = {
        "tokens": tokens,
        "layers": len(attentions),
        "heads": attentions.shape[1],
        "attentions": base64.b64encode(np.round(attentions * 255).astype("uint8").tobytes()).decode(),
    }
    is_cropped = len(tokens) < len(explanation.tokens)
    return _PAGE.substitute(
        title=html.escape(heading),
        heading=html.escape(heading),
        scores="" if label is None else score_table(scores, label),
        texts="".join(
            f'<div class="text">{coloured(text, [s for s in explanation.spans if s.text == index], largest)}</div>\n'
            for index, text in enumerate(texts)
        ),
        strongest=f"{largest:.3f}",
        sum=html.escape(sum_of_parts),
        cropped=f"The first {len(tokens)} of {len(explanation.tokens)} tokens are shown." if is_cropped else "",
        # Inside of a script element only "<" can end it.
        data=json.dumps(data).replace("<", "\\u003c"),
    )


def score_table(scores: dict[str, float], label: str) -> str:
    """A bar for each label, the most probable first."""
    rows = []
    for name, score in sorted(scores.items(), key=lambda item: -item[1])[:_MOST_LABELS]:
        rows.append(
            f'<tr{" class=best" if name == label else ""}><th scope="row">{html.escape(name)}</th>'
            f'<td class="bar"><div style="width: {100 * score:.2f}%"></div></td>'
            f'<td class="number">{score:.4f}</td></tr>'
        )
    return f"<table>{''.join(rows)}</table>"


def coloured(text: str, spans: list[Span], largest: float) -> str:
    """A text as HTML, each span in its colour: as strong as its part, compared with the largest one."""
    parts, end = [], 0
    for span in spans:
        share = abs(span.attribution) / largest if largest else 0.0
        colour = "0, 114, 178" if span.attribution >= 0 else "230, 120, 0"
        parts.append(
            f"{html.escape(text[end : span.start])}"
            f'<span class="{"for" if span.attribution >= 0 else "against"}" title="{span.attribution:+.4f}" '
            f'style="background: rgba({colour}, {0.6 * share:.3f})">{html.escape(text[span.start : span.end])}</span>'
        )
        end = span.end
    return "".join(parts) + html.escape(text[end:])
