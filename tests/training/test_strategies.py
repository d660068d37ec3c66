import json
import os
import socket
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest
import tensorflow as tf

from albert_gpt_tf.training.clusters import cluster_resolver, find_cluster
from albert_gpt_tf.training.strategies import STRATEGIES, is_chief, make_strategy


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"strategy must be one of .*multi_worker.*Received: strategy='mirored'"):
        make_strategy("mirored")


@pytest.fixture
def environment(monkeypatch):
    """The function (**variables): an environment with these variables of schedulers and no others."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "KUBERNETES_", "ALBERT_GPT_TF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    return lambda **variables: [monkeypatch.setenv(name, value) for name, value in variables.items()]


def slurm(nodes, tasks, rank, node, job="5"):
    return dict(
        SLURM_JOB_ID=job,
        SLURM_STEP_NODELIST=nodes,
        SLURM_STEP_TASKS_PER_NODE=tasks,
        SLURM_PROCID=str(rank),
        SLURM_NODEID=str(node),
    )


POD = dict(KUBERNETES_SERVICE_HOST="10.0.0.1", ALBERT_GPT_TF_WORKERS="3", ALBERT_GPT_TF_SERVICE="training")


def test_multi_worker_without_a_cluster_says_what_to_set(environment):
    environment()
    with pytest.raises(ValueError, match=r"Expected the addresses of all workers .*Received: .*none of them. Set TF_C"):
        make_strategy("multi_worker")


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{}",
        "[]",
        '{"task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_tf_config_that_names_no_worker_or_not_this_one_is_an_error(environment, config):
    environment(TF_CONFIG=config)
    with pytest.raises(ValueError, match=r"Expected TF_CONFIG to be JSON such as .*Received: TF_CONFIG=.*Set it"):
        make_strategy("multi_worker")


def test_tf_config_counts_before_a_scheduler(environment):
    cluster = {"chief": ["c:1"], "worker": ["a:1", "b:2"]}
    environment(**slurm("n1", "1", 0, 0), **POD)
    environment(TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}}))
    assert find_cluster() == ("TF_CONFIG", cluster, "worker", 1)


@pytest.mark.parametrize(
    ("nodes", "tasks", "hosts"),
    [
        ("gpu1", "1", ["gpu1"]),
        ("n2,n10", "1(x2)", ["n2", "n10"]),  # in Slurm's order, which is that of its ranks, not the alphabet's
        ("n[2,9-11]", "1(x4)", ["n2", "n9", "n10", "n11"]),
        ("n[08-10],login-2", "1(x4)", ["n08", "n09", "n10", "login-2"]),
        ("r[1-2]n[1-2]x", "1(x4)", ["r1n1x", "r1n2x", "r2n1x", "r2n2x"]),
        ("a[1-3]", "2(x2),1", ["a1", "a1", "a2", "a2", "a3"]),
    ],
)
def test_a_slurm_step_gives_every_rank_the_address_of_its_node(environment, nodes, tasks, hosts):
    node_of_host = list(dict.fromkeys(hosts))
    seen = []
    for rank, host in enumerate(hosts):
        environment(**slurm(nodes, tasks, rank, node_of_host.index(host)))
        found_in, addresses, job, index = find_cluster()
        assert (found_in, job, index) == ("Slurm", "worker", rank)
        assert addresses["worker"][rank].rpartition(":")[0] == host
        seen.append(addresses)
    assert all(addresses == seen[0] for addresses in seen)
    assert len(set(seen[0]["worker"])) == len(hosts)


def test_slurm_jobs_on_one_node_have_ports_of_their_own(environment):
    ports = []
    for job in ("41", "42"):
        environment(**slurm("n1", "16", 0, 0, job))
        ports += [int(address.rpartition(":")[2]) for address in find_cluster().addresses["worker"]]
    assert len(set(ports)) == 32
    assert min(ports) > 1024 and max(ports) < 32768


def test_a_slurm_job_without_a_step_is_told_to_use_srun(environment):
    environment(SLURM_JOB_ID="5", SLURM_PROCID="0", SLURM_NODEID="0")
    with pytest.raises(ValueError, match=r"without \['SLURM_STEP_NODELIST', 'SLURM_STEP_TASKS_PER_NODE'\].* with srun"):
        make_strategy("multi_worker")


@pytest.mark.parametrize(("rank", "node"), [(1, 1), (2, 0), (4, 2)])
def test_slurm_ranks_in_another_order_are_an_error(environment, rank, node):
    """With --distribution=cyclic rank 1 runs on the second node."""
    environment(**slurm("n[1-2]", "2(x2)", rank, node))
    with pytest.raises(
        ValueError, match=rf"numbered node by node. Received: .*SLURM_PROCID={rank}.*distribution=block"
    ):
        make_strategy("multi_worker")


def test_a_pod_is_the_worker_that_its_host_name_numbers(environment, monkeypatch):
    environment(**POD)
    monkeypatch.setattr("socket.gethostname", lambda: "pretrain-large-2.training.default.svc.cluster.local")
    hosts = [f"pretrain-large-{index}.training:2222" for index in range(3)]
    assert find_cluster() == ("Kubernetes", {"worker": hosts}, "worker", 2)


@pytest.mark.parametrize(
    ("host", "changes"),
    [
        ("pretrain-3", {}),
        ("pretrain-7d9f8-x2x4z", {}),
        ("pretrain-0", {"ALBERT_GPT_TF_WORKERS": "three"}),
        ("pretrain-0", {"ALBERT_GPT_TF_SERVICE": ""}),
    ],
)
def test_a_pod_that_cannot_know_its_place_says_what_to_set(environment, monkeypatch, host, changes):
    environment(**{**POD, **changes})
    monkeypatch.setattr("socket.gethostname", lambda: host)
    with pytest.raises(ValueError, match=rf"Received: host name '{host}', .*Set both in the pods, or set TF_CONFIG"):
        make_strategy("multi_worker")


def test_the_resolver_carries_what_was_found_and_logs_where(environment, monkeypatch):
    environment(**slurm("n[1-2]", "1(x2)", 1, 1))
    lines = []
    monkeypatch.setattr("absl.logging.info", lambda message, *values: lines.append(message % values))
    resolver = cluster_resolver()
    assert resolver.cluster_spec().as_dict() == {"worker": ["n1:16080", "n2:16080"]}
    assert (resolver.task_type, resolver.task_id, resolver.rpc_layer) == ("worker", 1, "grpc")
    [line] = lines
    assert "Workers from Slurm: this is worker 1 of " in line


@pytest.mark.slow
def test_two_processes_of_a_slurm_step_compute_together():
    """Each gives its replica's 1 and 2, and both get the sum."""
    program = textwrap.dedent("""
        import sys
        from albert_gpt_tf.training.strategies import is_chief, make_strategy
        strategy = make_strategy("multi_worker")
        import tensorflow as tf
        def step():
            replicas = tf.distribute.get_replica_context()
            return replicas.all_reduce("SUM", tf.cast(replicas.replica_id_in_sync_group + 1, tf.float32))
        print(strategy.num_replicas_in_sync, is_chief(strategy), float(strategy.run(tf.function(step))))
    """)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=os.environ | slurm("localhost", "2", rank, 0, job=free_job()) | {"CUDA_VISIBLE_DEVICES": "-1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    results = [output.splitlines()[-1:] for output, _ in outputs]
    assert results == [["2 True 3.0"], ["2 False 3.0"]], outputs


def free_job():
    """The number of a Slurm job whose first two ports nobody listens on."""
    for job in range(1, 1000):
        try:
            for port in (16000 + 16 * job, 16001 + 16 * job):
                socket.create_server(("localhost", port)).close()
        except OSError:
            continue
        return str(job)
    raise AssertionError("no two free ports")


def test_one_device_is_the_only_replica_and_writes():
    strategy = make_strategy("one_device")
    assert strategy.num_replicas_in_sync == 1
    assert is_chief(strategy)


def test_mirrored_takes_every_logical_device():
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    strategy = make_strategy("mirrored")
    assert strategy.num_replicas_in_sync == len(devices)
    assert is_chief(strategy)


@pytest.mark.parametrize(
    ("jobs", "job", "index", "expected"),
    [
        (["worker"], "worker", 0, True),
        (["worker"], "worker", 1, False),
        (["chief", "worker"], "chief", 0, True),
        (["chief", "worker"], "worker", 0, False),
    ],
)
def test_one_worker_is_the_chief(jobs, job, index, expected):
    class FakeStrategy(tf.distribute.MultiWorkerMirroredStrategy):
        def __init__(self):
            pass  # a genuine one would wait for the others

        cluster_resolver = SimpleNamespace(
            cluster_spec=lambda: SimpleNamespace(as_dict=lambda: {name: [] for name in jobs}),
            task_type=job,
            task_id=index,
        )

    assert is_chief(FakeStrategy()) is expected


def test_the_documented_names_are_the_accepted_ones():
    assert all(f'`"{name}"`' in make_strategy.__doc__ for name in STRATEGIES)
