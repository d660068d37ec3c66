"""The two originals of AlbertTokenizer, written down once more: google-research's code and Transformers' class."""

import unicodedata

import sentencepiece
from sentencepiece import sentencepiece_model_pb2


class GoogleResearch:
    """google-research/albert: `preprocess_text`, then `encode_pieces` and the ids, in Python."""

    def __init__(self, model, lowercase=True, keep_accents=False):
        self.sp = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.lowercase, self.keep_accents = lowercase, keep_accents

    def clean(self, text):
        text = " ".join(text.strip().split())
        if not self.keep_accents:
            text = unicodedata.normalize("NFKD", text)
            text = "".join(char for char in text if not unicodedata.combining(char))
        return text.lower() if self.lowercase else text

    def encode(self, texts):
        return [self.encode_one(text) for text in texts]

    def encode_one(self, text):
        new_pieces = []
        for piece in self.sp.encode_as_pieces(self.clean(text)):
            if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
                current = self.sp.encode_as_pieces(piece[:-1].replace("▁", ""))
                if piece[0] != "▁" and current[0][0] == "▁":
                    if len(current[0]) == 1:
                        current = current[1:]
                    else:
                        current[0] = current[0][1:]
                new_pieces += [*current, piece[-1]]
            else:
                new_pieces.append(piece)
        return [self.sp.piece_to_id(piece) for piece in new_pieces]


SPECIAL = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]


def transformers_backend(model, lowercase=True, keep_accents=False, scores=None):
    """The `tokenizers` pipeline that Transformers' AlbertTokenizer builds over a SentencePiece model."""
    import tokenizers
    from tokenizers import normalizers, pre_tokenizers

    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram(scores or pieces, unk_id=1))
    steps = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not keep_accents:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    steps.append(normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    backend.add_special_tokens([tokenizers.AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    return backend


class Transformers:
    """Transformers' AlbertTokenizer, by its backend."""

    def __init__(self, model, **kwargs):
        self.backend = transformers_backend(model, **kwargs)

    def encode(self, texts):
        return [encoding.ids for encoding in self.backend.encode_batch(texts, add_special_tokens=False)]
