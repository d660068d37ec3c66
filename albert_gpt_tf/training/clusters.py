"""Which processes train together, and which of them this one is: TF_CONFIG, Slurm or Kubernetes, from the environment.

TensorFlow's own resolvers for the last two are not used. `SlurmClusterResolver` sorts the names of hosts as text, so
that a process on node2 takes the address of node10, replaces CUDA_VISIBLE_DEVICES, and fails on machines without
`nvidia-smi`. `KubernetesClusterResolver` needs the package `kubernetes`, the right to list pods and the network of the
host, and cannot tell which worker a process is. Both systems give their processes all that is needed by name.
"""

import json
import os
import re
import socket
from typing import NamedTuple

import tensorflow as tf
from absl import logging

WORKERS_VARIABLE, SERVICE_VARIABLE = "ALBERT_GPT_TF_WORKERS", "ALBERT_GPT_TF_SERVICE"
# A pod has an address of its own, so any port is free.
_POD_PORT = 2222
# Below the ports that systems give to outgoing connections, from 32768 on.
_FIRST_SLURM_PORT, _PORTS_OF_A_JOB, _JOBS = 16000, 16, 1000


class Cluster(NamedTuple):
    """Processes that train together.

    Attributes:
        found_in: str, where this was found: "TF_CONFIG", "Slurm" or "Kubernetes".
        addresses: dict from a job's name, "worker" and perhaps "chief", to its addresses, list of "host:port".
        job: str, the job of this process.
        index: int, its place in the addresses of the job.
    """

    found_in: str
    addresses: dict[str, list[str]]
    job: str
    index: int


def cluster_resolver() -> tf.distribute.cluster_resolver.ClusterResolver:
    """Makes what `tf.distribute.MultiWorkerMirroredStrategy` takes, and logs where it was found.

    Returns:
        A resolver for the cluster that `find_cluster` finds.

    Raises:
        ValueError: see `find_cluster`.

    Example:
        >>> tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=cluster_resolver())  # doctest: +SKIP
    """
    cluster = find_cluster()
    logging.info(
        "Workers from %s: this is %s %d of %s.", cluster.found_in, cluster.job, cluster.index, cluster.addresses
    )
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster.addresses), task_type=cluster.job, task_id=cluster.index, rpc_layer="grpc"
    )


def find_cluster() -> Cluster:
    """Finds the processes that train together, in the environment; the first of these that is there counts.

    1. TF_CONFIG, `{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}`. Kubeflow and
       Vertex AI set it.
    2. A Slurm step: `srun --nodes=4 --ntasks-per-node=1 albert-gpt-tf train ... --strategy=multi_worker`. A process
       uses all GPUs that it sees, so start one on a node, or give each its own with `--gpus-per-task`. Ports follow
       from the number of the job.
    3. A pod of a Kubernetes StatefulSet, or of a Job with `completionMode: Indexed` and `subdomain`, both of which name
       their pods' hosts `name-0`, `name-1` and so on. ALBERT_GPT_TF_WORKERS is the number of pods and
       ALBERT_GPT_TF_SERVICE the headless service that gives them addresses, with `publishNotReadyAddresses: true`.

    Returns:
        A `Cluster`.

    Raises:
        ValueError: there is none of them, or one of which a part is missing or does not fit.

    Example:
        >>> os.environ["TF_CONFIG"] = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}'
        >>> find_cluster().index
        1

    Reference: https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable,
        https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES,
        https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-network-id.
    """
    # A scheduler sets its variables in everything that it starts, TF_CONFIG is set on purpose.
    if "TF_CONFIG" in os.environ:
        return _from_tf_config()
    if "SLURM_JOB_ID" in os.environ:
        return _from_slurm()
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return _from_kubernetes()
    raise ValueError(
        'Expected the addresses of all workers for the strategy "multi_worker": in the environment variable TF_CONFIG, '
        "from Slurm, or in a pod of Kubernetes. Received: an environment with none of them. Set TF_CONFIG to "
        '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}} in every process, '
        "or start the processes with srun."
    )


def _from_tf_config() -> Cluster:
    text = os.environ["TF_CONFIG"]
    try:
        config = json.loads(text)
        addresses, job, index = config["cluster"], config["task"]["type"], int(config["task"]["index"])
        is_complete = bool(addresses.get("worker")) and 0 <= index < len(addresses[job])
    except (ValueError, KeyError, TypeError, AttributeError):
        is_complete = False
    if not is_complete:
        raise ValueError(
            'Expected TF_CONFIG to be JSON such as {"cluster": {"worker": ["host:port", ...]}, "task": {"type": '
            f'"worker", "index": 0}}}}, of which the task is in the cluster. Received: TF_CONFIG={text!r}. Set it in '
            "every process."
        )
    return Cluster("TF_CONFIG", {name: list(hosts) for name, hosts in addresses.items()}, job, index)


def _from_slurm() -> Cluster:
    names = ("SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_PROCID", "SLURM_NODEID")
    if missing := [name for name in names if name not in os.environ]:
        raise ValueError(
            f"Expected the variables {list(names)} of a Slurm step, as the job has started this process. Received: an "
            f"environment without {missing}. Start the processes with srun."
        )
    hosts_text, counts_text, rank, node = (os.environ[name] for name in names)
    hosts, counts = _hosts_of_slurm(hosts_text), _counts_of_slurm(counts_text)
    first_port = _FIRST_SLURM_PORT + _PORTS_OF_A_JOB * (int(os.environ["SLURM_JOB_ID"]) % _JOBS)
    nodes = [number for number, count in enumerate(counts) for _ in range(count)]
    # Slurm numbers processes node by node, unless --distribution says otherwise.
    if len(hosts) != len(counts) or int(rank) >= len(nodes) or nodes[int(rank)] != int(node):
        raise ValueError(
            "Expected the processes of the Slurm step to be numbered node by node. Received: "
            f"SLURM_STEP_NODELIST={hosts_text}, SLURM_STEP_TASKS_PER_NODE={counts_text}, SLURM_PROCID={rank}, "
            f"SLURM_NODEID={node}. Start them with srun --distribution=block."
        )
    addresses = [
        f"{host}:{first_port + number}" for host, count in zip(hosts, counts, strict=True) for number in range(count)
    ]
    return Cluster("Slurm", {"worker": addresses}, "worker", int(rank))


def _hosts_of_slurm(text: str) -> list[str]:
    """`node[08-10,12],login` -> node08, node09, node10, node12, login."""
    hosts = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        # One bracket after the other: a name may have several.
        names = [""]
        for plain, numbers in re.findall(r"([^\[]+)|\[([^\]]*)\]", part):
            ends = [plain] if plain else [number for span in numbers.split(",") for number in _numbers_of_slurm(span)]
            names = [name + end for name in names for end in ends]
        hosts += names
    return hosts


def _numbers_of_slurm(span: str) -> list[str]:
    first, _, last = span.partition("-")
    return [str(number).zfill(len(first)) for number in range(int(first), int(last or first) + 1)]


def _counts_of_slurm(text: str) -> list[int]:
    """`2(x3),1` -> 2, 2, 2, 1."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(count) for count, times in parts for _ in range(int(times or 1))]


def _from_kubernetes() -> Cluster:
    workers, service = os.environ.get(WORKERS_VARIABLE, ""), os.environ.get(SERVICE_VARIABLE, "")
    host = socket.gethostname().partition(".")[0]
    match = re.fullmatch(r"(.+)-(\d+)", host)
    if not (service and match and workers.isdecimal() and int(match[2]) < int(workers)):
        raise ValueError(
            f"Expected a pod of a StatefulSet or an indexed Job, whose host name ends in a number below "
            f"{WORKERS_VARIABLE}, and its headless service in {SERVICE_VARIABLE}. Received: host name {host!r}, "
            f"{WORKERS_VARIABLE}={workers!r}, {SERVICE_VARIABLE}={service!r}. Set both in the pods, or set TF_CONFIG."
        )
    addresses = [f"{match[1]}-{index}.{service}:{_POD_PORT}" for index in range(int(workers))]
    return Cluster("Kubernetes", {"worker": addresses}, "worker", int(match[2]))
