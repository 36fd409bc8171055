"""The trained network of a run that kept its weights: `load(run)`, ready to be used or exported.

    run = Evaluation(genotype, keep_weights=True).run(machine)
    net = load(run)
    torch.export.export(net, (images,))

The file `weights.safetensors` in the run's folder is plain: its tensors have the names of the
network's own, so `space.finalnet(...).load_state_dict(...)` takes those of an evaluation; its
metadata holds the genotype.

What is kept, and how, says `classifier`. It stands apart: a search needs it, and `load` needs the
search.
"""

import json

import torch
from torch import nn

from nasutils.runs import Params, Run
from nasutils.training.classifier import Classifier, Relaxed, restore
from nasutils.training.computation import arguments, own_sources
from nasutils.training.experiment import Experiment, method_of, supernet_of
from nasutils.training.finalnet import Evaluation, network
from nasutils.training.loop import PRECISIONS


def load(run: Run, device: str = "cpu") -> Classifier:
    """The network of a finished run with its trained weights, in evaluation mode.

    Of an `Evaluation`: the final network, without its auxiliary head. Of an `Experiment`: the
    supernet under the mixing weights it ended with (`Relaxed`); where the search stopped itself,
    the genotype is that of the epoch it took.

    Raises ValueError if the run is not finished or has no weights, BadRun if it is damaged.
    """
    kept, texts = run.weights()
    params: Params = run.params or {}
    for name, digest in own_sources(params["space"], params.get("method", "")).items():
        if params.get(name) != digest:
            raise ValueError(
                f"{run.path} was run with another {name.replace('_', ' ')} than the one"
                " registered now"
            )
    about = {name: json.loads(text) for name, text in texts.items() if name != "genotype"}
    num_classes = about.pop("num_classes")
    make = {"search": _relaxed, "finalnet": _final}[params["kind"]]
    net = make(params, num_classes, kept).to(dtype=PRECISIONS[params["precision"]])
    restore(net, kept)
    return Classifier(net, texts["genotype"], **about).to(device).eval()


def _final(params: Params, num_classes: int, kept: dict[str, torch.Tensor]) -> nn.Module:
    evaluation = Evaluation(**arguments(Evaluation, params))
    return network(evaluation, num_classes)


def _relaxed(params: Params, num_classes: int, kept: dict[str, torch.Tensor]) -> nn.Module:
    experiment = Experiment(**arguments(Experiment, params))
    net = supernet_of(experiment, method_of(experiment), num_classes)
    mix = {}
    for name, weights in kept.items():
        if name.startswith("mix_"):
            mix[name.removeprefix("mix_")] = weights
    return Relaxed(net, mix)
