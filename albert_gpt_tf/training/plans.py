"""What a configuration can train, by the name in `config.task`."""

from albert_gpt_tf.training.plan import Plan
from albert_gpt_tf.training.plan_albert_pretraining import albert_pretraining
from albert_gpt_tf.training.plan_causal_lm import causal_lm
from albert_gpt_tf.training.plan_dialogue import dialogue
from albert_gpt_tf.training.plan_multiple_choice import multiple_choice
from albert_gpt_tf.training.plan_question_answerer import question_answerer
from albert_gpt_tf.training.plan_text_classifier import text_classifier
from albert_gpt_tf.training.plan_token_classifier import token_classifier
from albert_gpt_tf.training.plan_verse import verse

PLANS = {
    "albert_pretraining": albert_pretraining,
    "causal_lm": causal_lm,
    "dialogue": dialogue,
    "multiple_choice": multiple_choice,
    "question_answerer": question_answerer,
    "text_classifier": text_classifier,
    "token_classifier": token_classifier,
    "verse": verse,
}


def make_plan(config, strategy) -> Plan:
    """Reads the data and makes the task that a configuration describes.

    Raises:
        ValueError: a setting that cannot work.
        DataError: a file with a broken row.

    Example:
        >>> plan = make_plan(get_config(), make_strategy("one_device"))
        >>> plan.task.fit(plan.batches(0), steps_per_epoch=10)
    """
    plan = PLANS[config.task](config, strategy)
    if config.sequence_length > plan.task.backbone.max_sequence_length:
        raise ValueError(
            "config.sequence_length must be at most the model's max_sequence_length of "
            f"{plan.task.backbone.max_sequence_length}. Received: sequence_length={config.sequence_length}"
        )
    return plan
