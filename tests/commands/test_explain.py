"""`albert-gpt-tf explain`: a page that parses, shows what was computed and runs nothing of the text."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np

from albert_gpt_tf.commands.explain_page import coloured, explanation_page
from albert_gpt_tf.tasks.attributions import Explanation, Span

VOID = {"meta", "br"}
EVIL = '<script>alert("1")</script> & </div>'


class Page(HTMLParser):
    """Reads a page, and holds that every element is closed in order."""

    def __init__(self, content):
        super().__init__()
        self.open, self.tags, self.texts, self.attributes = [], [], [], []
        self.feed(content)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def text_of(self, tag):
        return "".join(data for inside, data in self.texts if inside == tag)


def make_explanation(texts, **changes):
    """An explanation with a span a word, whose parts are 1, -2, 3 and so on."""
    spans = [Span(i, m.start(), m.end(), 0.0) for i, text in enumerate(texts) for m in re.finditer(r"\S+", text)]
    spans = [span._replace(attribution=(-1.0) ** i * (i + 1)) for i, span in enumerate(spans)]
    tokens = ["[CLS]", *(texts[span.text][span.start : span.end] for span in spans)]
    attentions = np.random.RandomState(0).uniform(size=(2, 3, len(tokens), len(tokens))).astype("float32")
    fields = {
        "label": "ham", "scores": {"spam": 0.25, "ham": 0.75}, "explained": 1.1, "baseline": 0.1, "spans": spans,
        "baseline_token": "[MASK]",
        "tokens": tokens, "attributions": np.array([0.0, *(span.attribution for span in spans)]),
        "attentions": attentions,
    }  # fmt: skip
    return Explanation(**{**fields, **changes})


def test_the_page_parses_and_needs_no_other_file():
    content = explanation_page(make_explanation(["win a prize", "now"]), ["win a prize", "now"])
    page = Page(content)
    assert page.tags.count("script") == 2 and page.tags.count("canvas") == 1
    assert not [a for a in page.attributes if {"src", "href"} & set(a)]
    assert not re.search(r"https?://|url\(|@import|fetch\(", content)
    assert page.text_of("title") == "ham: 75.0%"


def test_text_labels_and_tokens_are_escaped():
    scores = {EVIL: 0.75, "ham": 0.25}
    content = explanation_page(make_explanation([EVIL], label=EVIL, scores=scores), [EVIL])
    assert "<script>alert" not in content and "</script> &" not in content
    page = Page(content)
    assert page.tags.count("script") == 2
    assert page.text_of("th") == EVIL + "ham"
    data = json.loads(next(x for _, x in page.texts if x.startswith('{"tokens"')))
    assert data["tokens"] == ["[CLS]", *EVIL.split()]


def test_the_text_stands_there_as_it_is_with_a_colour_for_each_piece():
    text = "win  a\n<b>prize</b> 👍"
    spans = make_explanation([text]).spans
    page = Page(coloured(text, spans, largest=4.0))
    assert "".join(data for _, data in page.texts) == text
    assert [a["class"] for a in page.attributes] == ["for", "against", "for", "against"]
    assert [a["title"] for a in page.attributes] == ["+1.0000", "-2.0000", "+3.0000", "-4.0000"]
    strength = [float(re.search(r"([\d.]+)\)", a["style"])[1]) for a in page.attributes]
    np.testing.assert_allclose(strength, 0.6 * np.array([0.25, 0.5, 0.75, 1.0]), atol=1e-3)


def test_the_scores_have_bars_the_largest_first():
    page = Page(explanation_page(make_explanation(["a b"]), ["a b"]))
    assert [a["style"] for a in page.attributes if a.get("style", "").startswith("width")] == [
        "width: 75.00%", "width: 25.00%",
    ]  # fmt: skip


def test_the_attention_maps_are_in_the_page():
    explanation = make_explanation(["win a prize"])
    page = Page(explanation_page(explanation, ["win a prize"]))
    data = json.loads(next(x for _, x in page.texts if x.startswith('{"tokens"')))
    found = np.frombuffer(base64.b64decode(data["attentions"]), "uint8").reshape(explanation.attentions.shape) / 255
    np.testing.assert_allclose(found, explanation.attentions, atol=0.5 / 255 + 1e-6)
    assert (data["layers"], data["heads"]) == (2, 3)


def test_maps_of_a_long_text_are_cut_and_the_page_says_so():
    text = "word " * 200
    content = explanation_page(make_explanation([text]), [text])
    assert "The first 128 of 201 tokens are shown." in content
    assert len(content) < 500_000


def test_a_regression_has_a_value_in_place_of_scores():
    explanation = make_explanation(["a b"], label=None, scores={"value": 2.5})
    page = Page(explanation_page(explanation, ["a b"]))
    assert page.text_of("title") == "Value 2.5000" and "table" not in page.tags


def test_an_empty_text_has_a_page_too():
    Page(explanation_page(make_explanation([""]), [""]))


def test_the_command_writes_the_page_and_says_how_well_the_parts_add_up(run, presets, tmp_path):
    output = tmp_path / "pages" / "explain.html"
    text = "red <b>one</b>"
    result = run("explain", f"--preset={presets.classifier}", f"--text={text}", f"--output={output}")
    assert result.status == 0, result.errors
    page = Page(output.read_text(encoding="utf-8"))
    assert text in "".join(data for _, data in page.texts)
    assert float(re.search(r"error: (\S+)", result.output)[1]) < 1e-3
    assert result.output.splitlines()[-1] == str(output)
    assert {"cat", "dog"} <= set(result.output.split())


def test_another_model_is_refused(run, presets, tmp_path):
    result = run("explain", f"--preset={presets.causal_lm}", "--text=a", f"--output={tmp_path / 'x.html'}")
    assert result.status == 1 and "explain needs a text classifier. Received: a GPTCausalLM" in result.errors
