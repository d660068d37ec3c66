"""The base of every task: `fit`, `evaluate` and `predict` on text, and one train step for every strategy.

The step lives here and not in `training`, because Keras' `fit` calls a method of the model. What it guarantees: the
loss is a mean over all weighted tokens (or examples) of the *global* batch, whatever the number of replicas, workers
and micro-batches, and gradients are applied once.
"""

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.tasks.batches import as_dataset, weights_like
from albert_gpt_tf.tasks.losses import cross_entropy
from albert_gpt_tf.tasks.step_counts import StepCounts


class Task(keras_nlp.models.Task):
    """A functional model from a dict of ids to logits, with preprocessing from text.

    A subclass's outputs are one tensor of logits or a dict of them; targets and weights have the same structure. The
    loss of each output is a weighted mean of its `elementwise_loss`; the losses of several outputs are added, each over
    its own weights. What is measured beside the loss is `elementwise_metric`, under the name `metric_name`.

    `fit`, `evaluate` and `predict` take raw strings (preprocessed in `tf.data`) or dicts of ids (used as they are).
    """

    backbone_cls = None
    preprocessor_cls = None
    metric_name = "accuracy"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.means = {
            mean: keras.metrics.Mean(name=mean)
            for name in self.output_names_of_losses()
            for mean in self.names_of_means(name)
        }
        self.gradient_norm = keras.metrics.Mean(name="gradient_norm")
        self.step_counts = StepCounts()

    def output_names_of_losses(self) -> list[str]:
        """Names of the outputs that have a loss; `[""]` for a single output."""
        return sorted(self.output) if isinstance(self.output, dict) else [""]

    def elementwise_loss(self, name, targets, logits):
        """Loss of each target: int [...], float [..., classes] -> float32 [...]."""
        return cross_entropy(targets, logits)

    def names_of_means(self, name) -> tuple[str, str]:
        """What an output's loss and metric are called in the logs."""
        prefix = f"{name}_" if name else ""
        return f"{prefix}loss", f"{prefix}{self.metric_name}"

    def elementwise_metric(self, name, targets, logits):
        """1.0 where the largest logit is the target's: int [...], float [..., classes] -> float32 [...]."""
        return tf.cast(tf.equal(tf.argmax(logits, -1, output_type=targets.dtype), targets), "float32")

    # === Compilation ===

    def compile(
        self,
        optimizer="auto",
        *,
        micro_batches=1,
        stop_at_non_finite=False,
        run_eagerly=False,
        jit_compile=False,
        steps_per_execution=1,
        loss=None,
        metrics=None,
        **keras_arguments,
    ):
        """Sets the optimizer and the shape of a step.

        Args:
            optimizer: keras optimizer, or `"auto"` for AdamW with learning rate 5e-5. Under a strategy with several
                replicas, use one that clips after the all-reduce (`albert_gpt_tf.training.optimizers.AdamW`).
            micro_batches: int, a batch is computed in so many equal parts, one after the other, to save memory. The
                result is that of one part. Defaults to 1.
            stop_at_non_finite: bool, whether the weights stay as they are from the first step on whose gradient is not
                finite; needs an optimizer with `skip_non_finite`. Defaults to `False`.
            run_eagerly: bool, for debugging. Defaults to `False`.
            jit_compile: bool, XLA; on one device only. Defaults to `False`.
            steps_per_execution: int, on one device only. Defaults to 1.
            loss: must be `None`: a task has its own.
            metrics: must be `None` or empty: a task has its own.
            keras_arguments: other arguments of `keras.Model.compile`, which must be empty.

        Raises:
            ValueError: a combination that cannot work, before any step is run.
        """
        if loss not in (None, "auto") or metrics not in (None, [], "auto"):
            raise ValueError(
                f"{type(self).__name__} brings its own loss and metrics. Received: loss={loss!r}, metrics={metrics!r}. "
                "Leave both out; to change the loss, override `elementwise_loss`."
            )
        # A loaded model passes what Keras saved with it: all its own arguments, empty.
        surplus = {n: v for n, v in keras_arguments.items() if v not in (None, []) and n != "auto_scale_loss"}
        if surplus:
            raise ValueError(f"compile has no use for {surplus}. Its arguments are listed in its documentation.")
        if micro_batches < 1:
            raise ValueError(f"micro_batches must be 1 or more. Received: micro_batches={micro_batches}")
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = keras.optimizers.AdamW(5e-5)
        optimizer = keras.optimizers.get(optimizer)
        self.micro_batches = micro_batches
        self.stop_at_non_finite = stop_at_non_finite
        self.refuse_what_cannot_work(optimizer, jit_compile, steps_per_execution)
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
        )

    def refuse_what_cannot_work(self, optimizer, jit_compile, steps_per_execution):
        """Raises for what Keras does wrong or not at all under a strategy (measured on Keras 3.15)."""
        if getattr(optimizer, "gradient_accumulation_steps", None):
            raise ValueError(
                "gradient_accumulation_steps is Keras' own accumulation, which fails under tf.distribute. "
                f"Use compile(micro_batches={optimizer.gradient_accumulation_steps}) instead."
            )
        if self.distribute_strategy.num_replicas_in_sync == 1 and not self.is_multi_worker():
            return
        clips = [n for n in ("clipnorm", "global_clipnorm", "clipvalue") if getattr(optimizer, n, None)]
        refused = {
            f"{' and '.join(clips)} of a Keras optimizer clips each replica's part before the all-reduce; use "
            "albert_gpt_tf.training.optimizers.AdamW": clips and not getattr(optimizer, "clips_after_reduction", False),
            "use_ema": getattr(optimizer, "use_ema", False),
            "jit_compile=True": jit_compile is True,
            "steps_per_execution": steps_per_execution != 1,
        }
        for reason, is_refused in refused.items():
            if is_refused:
                raise ValueError(f"This cannot work with several replicas: {reason}.")

    def is_multi_worker(self) -> bool:
        """Whether the model was made under a multi-worker strategy."""
        return isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy)

    @property
    def metrics(self):
        # Keras asks before `__init__` has ended, too.
        return [*self.means.values(), self.gradient_norm, self.step_counts] if hasattr(self, "step_counts") else []

    # === Steps ===

    def train_step(self, data):
        x, targets, weights = self.by_output(data)
        variables = [variable.value for variable in self.trainable_variables]
        replicas = tf.distribute.get_replica_context()
        totals = {name: replicas.all_reduce("SUM", tf.reduce_sum(w)) for name, w in weights.items()}
        # NaN makes every gradient of the steps after a bad one NaN, and the optimizer skips them.
        one_or_nan = self.step_counts.one_or_nan() if self.stop_at_non_finite else None

        def micro_step(x, targets, weights):
            """Gradients and sums of one part of this replica's batch, already divided by the global totals."""
            with tf.GradientTape() as tape:
                means = self.weighted_means(self(x, training=True), targets, weights, totals)
                loss = self.sum_of_losses(means)
                scaled = self.optimizer.scale_loss(loss)  # for float16; otherwise unchanged
                scaled = scaled if one_or_nan is None else scaled * one_or_nan
            gradients = tape.gradient(scaled, variables)
            # Embeddings give IndexedSlices; a variable that is not used gives None.
            gradients = [
                tf.zeros_like(v) if g is None else tf.convert_to_tensor(g)
                for g, v in zip(gradients, variables, strict=True)
            ]
            return gradients, means

        if self.micro_batches == 1:
            gradients, means = micro_step(x, targets, weights)
        else:
            parts = tf.nest.map_structure(self.split_batch, (x, targets, weights))

            def add_micro_step(index, gradients, means):
                part = tf.nest.map_structure(lambda t: t[index], parts)
                more_gradients, more_means = micro_step(*part)
                return (
                    index + 1,
                    [g + m for g, m in zip(gradients, more_gradients, strict=True)],
                    {name: means[name] + more_means[name] for name in means},
                )

            start = (0, [tf.zeros_like(v) for v in variables], {name: 0.0 for name in self.means})
            _, gradients, means = tf.while_loop(lambda i, *_: i < self.micro_batches, add_micro_step, start)
        # One update, outside any control flow: a strategy cannot merge replicas inside a loop or a branch.
        self.optimizer.apply(gradients, self.trainable_variables)
        norm = getattr(self.optimizer, "gradient_norm", None)  # known to optimizers that clip after the all-reduce
        tells = replicas.all_reduce("SUM", self.sum_of_losses(means)) if norm is None else norm
        is_finite = tf.math.is_finite(tells)
        self.step_counts.update_state(self.count_tokens(x), is_finite)
        # A step that was skipped counts for nothing; otherwise the numbers say what happened.
        is_counted = is_finite if self.skips_non_finite() else True
        self.update_means(means, totals, is_counted)
        if norm is None:
            return self.logs()
        self.gradient_norm.update_state(tf.where(is_counted, norm, 0.0), tf.cast(is_counted, "float32"))
        return self.logs(self.gradient_norm)

    def skips_non_finite(self) -> bool:
        """Whether a step whose gradient is not finite changes nothing."""
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        return getattr(optimizer, "skip_non_finite", False)

    def count_tokens(self, x):
        """Tokens of this replica's part of a batch, padding not included where a mask tells."""
        mask = x.get("padding_mask") if isinstance(x, dict) else None
        return 0 if mask is None else tf.math.count_nonzero(mask)

    def test_step(self, data):
        x, targets, weights = self.by_output(data)
        replicas = tf.distribute.get_replica_context()
        totals = {name: replicas.all_reduce("SUM", tf.reduce_sum(w)) for name, w in weights.items()}
        means = self.weighted_means(self(x, training=False), targets, weights, totals)
        self.update_means(means, totals)
        return self.logs()

    def by_output(self, data):
        """(x, y, sample_weight) -> x, targets and weights as dicts by output name, of equal shapes; no weight is 1."""
        x, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
        if targets is None:
            raise ValueError(f"{type(self).__name__} needs targets to train or evaluate. Received: y=None")
        if not isinstance(self.output, dict):
            targets, weights = {"": targets}, {"": weights}
        names = self.output_names_of_losses()
        if not isinstance(targets, dict) or not set(names) <= set(targets):
            received = sorted(targets) if isinstance(targets, dict) else type(targets).__name__
            raise ValueError(f"Expected targets as a dict with the keys {names}. Received: {received}. Name each one.")
        if not isinstance(weights, dict):  # the weights of examples count for every output
            weights = {name: weights for name in names}
        if unknown := set(weights) - set(names):
            raise ValueError(
                f"Expected sample_weight with keys among {names}. Received: {sorted(unknown)}. Name them so."
            )
        weights = {name: weights_like(targets[name], weights.get(name)) for name in names}
        return x, {name: targets[name] for name in names}, weights

    def weighted_means(self, outputs, targets, weights, totals):
        """This replica's share of the global means of a batch: {name of a mean: scalar}."""
        outputs = outputs if isinstance(outputs, dict) else {"": outputs}
        means = {}
        for name in self.output_names_of_losses():
            losses = self.elementwise_loss(name, targets[name], outputs[name])
            metrics = self.elementwise_metric(name, targets[name], outputs[name])
            for mean, values in zip(self.names_of_means(name), (losses, metrics), strict=True):
                means[mean] = tf.math.divide_no_nan(tf.reduce_sum(weights[name] * values), totals[name])
        return means

    def sum_of_losses(self, means):
        """The loss of all outputs, from a dict of means by name."""
        return tf.add_n([means[self.names_of_means(name)[0]] for name in self.output_names_of_losses()])

    def update_means(self, means, totals, is_counted=True):
        """Adds the global means of a batch to the epoch's, weighted by the batch's totals, or by 0."""
        replicas = tf.distribute.get_replica_context()
        for name, total in totals.items():
            for mean in self.names_of_means(name):
                value = tf.where(is_counted, replicas.all_reduce("SUM", means[mean]), 0.0)
                self.means[mean].update_state(value, sample_weight=tf.where(is_counted, total, 0.0))

    def logs(self, *more):
        """What `fit` shows. Under several workers Keras reduces logs over an axis, which a scalar does not have."""
        shape = [1] if self.is_multi_worker() else []
        means = {mean.name: mean.result() for mean in [*self.means.values(), *more]}
        # Of several outputs the sum of their epochs' means: a batch with few masks counts less for masked LM alone.
        logs = {"loss": self.sum_of_losses(means), **means}
        return {name: tf.reshape(value, shape) for name, value in logs.items()}

    def split_batch(self, x):
        """[batch, ...] -> [micro_batches, batch / micro_batches, ...]; zeros, without weight, fill up the last part."""
        missing = -tf.shape(x)[0] % self.micro_batches
        x = tf.concat([x, tf.zeros(tf.concat([[missing], tf.shape(x)[1:]], 0), x.dtype)], 0)
        return tf.reshape(x, tf.concat([[self.micro_batches, -1], tf.shape(x)[1:]], 0))

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras would build from a batch summed over the replicas, which fails for bools and for several workers. The
        # model is functional, hence built.
        with self.distribute_strategy.scope():
            if self.optimizer is not None and not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)

    # === Text ===

    def fit(self, x=None, y=None, batch_size=None, sample_weight=None, validation_data=None, **kwargs):
        """Trains on text or ids; see `keras.Model.fit`.

        Args:
            x: list or array of strings, a dict of id arrays, or a `tf.data.Dataset` of batches of (x, y) or
                (x, y, sample_weight).
            y: targets, if `x` is not a dataset.
            batch_size: int, if `x` is not a dataset. Defaults to 32.
            sample_weight: weights of the targets, if `x` is not a dataset.
            validation_data: as `x`, or a tuple (x, y).
        """
        dataset = as_dataset(x, y, sample_weight, batch_size, shuffle=kwargs.pop("shuffle", True))
        if validation_data is not None and not isinstance(validation_data, tf.data.Dataset):
            validation_data = as_dataset(*validation_data, batch_size=batch_size)
        return super().fit(dataset, validation_data=validation_data, shuffle=False, **kwargs)  # shuffled above

    def evaluate(self, x=None, y=None, batch_size=None, sample_weight=None, return_dict=False, **kwargs):
        """Loss and metrics on text or ids; see `keras.Model.evaluate`. A list begins with the loss."""
        if not kwargs.get("_use_cached_eval_dataset"):
            x = as_dataset(x, y, sample_weight, batch_size)
        results = super().evaluate(x, return_dict=True, **kwargs)
        return results if return_dict else [results[name] for name in dict.fromkeys(["loss", *self.means])]

    def predict(self, x, batch_size=None, **kwargs):
        """Outputs for text or ids; see `keras.Model.predict`."""
        return super().predict(as_dataset(x, batch_size=batch_size), **kwargs)

    def preprocess_samples(self, x, y=None, sample_weight=None):
        """Turns a batch of text into ids; a batch of ids passes."""
        if all(t.dtype != "string" for t in tf.nest.flatten(x)):
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        if self.preprocessor is None:
            raise ValueError(
                f"{type(self).__name__} received text but has no preprocessor. Make it with tokenizer=... or "
                "preprocessor=..., or give it a dict of ids."
            )
        return super().preprocess_samples(x, y=y, sample_weight=sample_weight)

    # === Presets ===

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """Loads a task.

        Args:
            preset: str or Path: a directory that `save_to_preset` wrote, of this task or of another one with the same
                backbone; or a checkpoint of another library, see `albert_gpt_tf.checkpoints`.
            load_weights: bool; `False` gives a new model of the same shape. Defaults to `True`.
            kwargs: arguments of the constructor, such as `labels`. They replace what was saved.

        Returns:
            The task. What the preset does not hold is new: the head of another task, or that of other labels.

        Raises:
            ValueError: the directory holds nothing that this class can load.

        Example:
            >>> classifier = AlbertTextClassifier.from_preset("runs/pretraining/preset", labels=["ham", "spam"])
        """
        # They import this module.
        from albert_gpt_tf.checkpoints.load import load_task
        from albert_gpt_tf.tasks.load import load_other_task
        from albert_gpt_tf.tasks.trained_part import load_trained_part

        for load in (load_task, load_other_task, load_trained_part):
            if (task := load(cls, preset, load_weights, **kwargs)) is not None:
                return task
        return super().from_preset(str(preset), load_weights, **kwargs)

    def save_task_weights(self, filepath):
        """Writes the weights that are not the backbone's."""
        keras.saving.save_weights(self, filepath, objects_to_skip=self.not_task_weights())

    def load_task_weights(self, filepath):
        """Reads what `save_task_weights` wrote."""
        keras.saving.load_weights(self, filepath, objects_to_skip=self.not_task_weights())

    def not_task_weights(self):
        # A preset holds the model alone: the optimizer's state and the metrics belong to a run.
        return [*self.backbone._flatten_layers(), *self.metrics, *([self.optimizer] if self.optimizer else [])]
