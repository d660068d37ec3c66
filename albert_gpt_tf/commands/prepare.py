"""Tokenizes text files into sharded TFRecords, to pretrain on.

    albert-gpt-tf prepare --input='corpus/*.txt' --tokenizer=presets/gpt2 --output=shards
    albert-gpt-tf prepare --input='corpus/**/*.txt.gz' --tokenizer=presets/albert_base --output=shards \\
        --format=sentences --workers=8
    albert-gpt-tf prepare --input='gs://me/corpus/*' --tokenizer=hf://openai-community/gpt2 --output=gs://me/shards \\
        --beam_options='--runner=DataflowRunner --project=me --region=europe-west1 --temp_location=gs://me/temp'

Files are UTF-8, with blank lines between documents; --format=sentences, for ALBERT, takes a sentence a line. The
command can be stopped at any time: started again, it goes on behind the last finished shard, and the result is the
same, byte for byte. With --beam_options it runs as an Apache Beam pipeline (pip install 'albert-gpt-tf[beam]'): the
records are the same, the order and the borders of shards are not.
"""

from absl import flags

_INPUT = flags.DEFINE_list("input", None, "Files or patterns, separated by commas.", required=True)
_TOKENIZER = flags.DEFINE_string(
    "tokenizer", None, "Directory with a tokenizer: a preset, a checkpoint, or vocabulary files.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "Directory of the shards.", required=True)
_FORMAT = flags.DEFINE_enum(
    "format", "documents", ["documents", "sentences"], "Whether a document is one text, or a sentence a line."
)
_SHARD_SIZE_MB = flags.DEFINE_float("shard_size_mb", 64, "Megabytes of text in a shard.")
_WORKERS = flags.DEFINE_integer("workers", 1, "Processes that tokenize.", lower_bound=1)
_BEAM_OPTIONS = flags.DEFINE_string(
    "beam_options", None, "Run as an Apache Beam pipeline with these options, such as --runner=DirectRunner."
)


def main(arguments: list[str]) -> None:
    """Runs the command."""
    from functools import partial

    from albert_gpt_tf.commands.prepare_tokenizer import find_tokenizer

    load_tokenizer = partial(find_tokenizer, _TOKENIZER.value)
    if _BEAM_OPTIONS.value is None:
        from albert_gpt_tf.data.write_token_shards import write_token_shards

        manifest = write_token_shards(
            _INPUT.value,
            load_tokenizer,
            _OUTPUT.value,
            format=_FORMAT.value,
            shard_size_mb=_SHARD_SIZE_MB.value,
            workers=_WORKERS.value,
            progress=True,
        )
    else:
        from albert_gpt_tf.data.beam_pipeline import write_token_shards_with_beam

        manifest = write_token_shards_with_beam(
            _INPUT.value,
            load_tokenizer,
            _OUTPUT.value,
            format=_FORMAT.value,
            shard_size_mb=_SHARD_SIZE_MB.value,
            beam_options=_BEAM_OPTIONS.value.split(),
        )
    print(
        f"{_OUTPUT.value}  {manifest['documents']:,} documents, {manifest['tokens']:,} tokens, "
        f"{manifest['bytes'] / 1e6:,.1f} MB of text, {len(manifest['shards'])} shards"
    )
