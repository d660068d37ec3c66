"""What both protocols tell about a model: the state of its versions, and its signatures."""

from google.protobuf import any_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from albert_gpt_tf.serving.loaded_model import LoadedModel
from albert_gpt_tf.serving.request_error import RequestError, invalid


def model_status(
    models: dict[str, dict[int, LoadedModel]], name: str, version: int | None, label: str = ""
) -> get_model_status_pb2.GetModelStatusResponse:
    """Returns the state of a model's versions, the highest first; what is loaded is AVAILABLE.

    Args:
        models: dict from model name to its loaded versions.
        name: str, the model.
        version: int for one version, None for all.
        label: str, a version label; this server has none.

    Returns:
        A GetModelStatusResponse.

    Raises:
        RequestError: NOT_FOUND if there is no such model or version.
    """
    if label:
        raise invalid(f"Unrecognized servable version label: {label}")
    versions = models.get(name, {})
    if version is None and not versions:
        raise RequestError("NOT_FOUND", f"Could not find any versions of model {name}")
    if version is not None and version not in versions:
        raise RequestError("NOT_FOUND", f"Could not find version {version} of model {name}")
    response = get_model_status_pb2.GetModelStatusResponse()
    for number in sorted(versions, reverse=True) if version is None else [version]:
        state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        response.model_version_status.add(version=number, state=state).status.SetInParent()
    return response


def signature_map(model: LoadedModel) -> get_model_metadata_pb2.SignatureDefMap:
    """Returns the signatures of a model without their default inputs, which the real server hides too."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in model.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
        signatures.signature_def[name].ClearField("defaults")
    return signatures


def model_metadata(model: LoadedModel, fields: list[str]) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Answers GetModelMetadata.

    Args:
        model: the loaded version.
        fields: the `metadata_field` of the request; only `signature_def` exists.

    Returns:
        A GetModelMetadataResponse.

    Raises:
        RequestError: INVALID_ARGUMENT for no field or another one.
    """
    if not fields:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != "signature_def":
            raise invalid(f"Metadata field {field} is not supported")
    packed = any_pb2.Any()
    packed.Pack(signature_map(model))
    return get_model_metadata_pb2.GetModelMetadataResponse(
        model_spec={"name": model.name, "version": {"value": model.version}}, metadata={"signature_def": packed}
    )
