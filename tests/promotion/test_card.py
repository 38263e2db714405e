"""Model cards say what is known of a model, and what nobody has said; the registry shows them."""

import pytest

from cv_pipelines.config.promotion import PromotionConfig
from cv_pipelines.inference.model import config_of
from cv_pipelines.plots.card import Card, Part, card_page, card_text
from cv_pipelines.promotion.card import LONGEST, described
from cv_pipelines.promotion.decide import promote
from cv_pipelines.training.predict import predict

MODEL = "classification.pets"
SUMMARY = {
    "facts": {"licence": "CC BY 4.0"},
    "quarantine": [{"reason": "truncated image", "action": "dropped", "n": 3}],
    "duplicates": {},
}


@pytest.fixture
def carded(candidate, data, registry, right):
    """Promotes a candidate that is right in seven of ten samples; gives its card."""

    def run(card=None, metrics=None):
        one = candidate("first", right(0.7))
        values = {"candidate": "first", "serve": False, "timings": 1, "bootstrap": {"resamples": 200}}
        config = PromotionConfig.model_validate(values | {"card": card or {}})
        decision = promote("gate", config, one, data, {}, registry)
        table = predict(config_of(one.checkpoints[0], "cpu"), data, one.checkpoints)
        one.metrics["seeds"]["0"] |= metrics or {}
        return described(decision, config, one, table, data, SUMMARY, registry)

    return run


def test_a_card_tells_use_decision_scores_data_and_lineage(carded, registry):
    text = card_text(carded({"intended_use": "Sorting photos of pets.", "limits": "No wild animals."}))
    assert text.startswith(f"# {MODEL}, version 1\n\nclassification on pets, by the experiment first\n")
    assert "Sorting photos of pets." in text
    assert "No wild animals." in text
    assert "| same numbers again | holds |" in text
    (accuracy,) = [line for line in text.splitlines() if line.startswith("| accuracy | 0.7000 |")]
    low, high = accuracy.split(" | ")[2].split(" to ")
    assert 0.6 < float(low) < 0.7 < float(high) < 0.8
    assert "| class | accuracy | 95% interval | of |" in text
    assert {f"| {name} |" in text for name in ("cat", "cow", "dog")} == {True}
    assert "3 truncated image (dropped)" in text
    assert "| fingerprint | of first |" in text
    version = registry.client.get_model_version(MODEL, "1")
    assert version.run_id in text
    assert version.description == text


def test_what_nobody_said_is_said_to_be_missing(carded):
    assert card_text(carded()).count("Not stated") == 2


def test_predictions_of_another_day_leave_the_intervals_out(carded):
    text = card_text(carded(metrics={"accuracy": 0.9}))
    assert "| accuracy | 0.9000 | n/a to n/a | 240 |" in text


def test_texts_and_pages_show_any_value():
    rows = [["a|b", 0.5], ["line\nbreak", [1, 2, 3, 4]]]
    card = Card("one & two", "what", [Part("First", "words", ("key", "value"), rows), Part("Last", "x" * 50)])
    text = card_text(card)
    assert "| a\\|b | 0.5000 |" in text
    assert "| line break | 4: 1, 2, 3, … and 0 more |" in text or "| line break | 4: 1, 2, 3, 4 |" in text
    assert card_text(card, longest=len(text) - 1).endswith("|\n")
    assert "one &amp; two" in card_page(card)
    assert LONGEST == 5000
