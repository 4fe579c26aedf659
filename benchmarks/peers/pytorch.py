"""PyTorch: `nn.LSTM` and `nn.GRU`, time first, packed sequences where there are lengths."""

import time
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import machine
from cases import Case, Data, Weights
from peers import Program, inference_results, training_results

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def why_not(case: Case) -> str | None:
    return None


def device() -> tuple[str, str]:
    return ("gpu", torch.cuda.get_device_name()) if torch.cuda.is_available() else ("cpu", "cpu")


class TorchProgram:
    temporary_bytes = None

    def __init__(self, case: Case, data: Data):
        torch.set_num_threads(machine.cores())
        torch.backends.cudnn.allow_tf32 = False  # nor does any peer use it
        self.case, self.where = case, "cuda" if torch.cuda.is_available() else "cpu"
        self.module = _module(case, data).to(self.where)
        self.module.flatten_parameters()
        self.parameters = list(self.module.parameters())
        self.xs, self.v = (torch.tensor(a, device=self.where) for a in (data.xs, data.v))
        self.lengths = None if data.lengths is None else torch.tensor(data.lengths).long()
        start = time.perf_counter()
        self.run()
        self.first_call_seconds = time.perf_counter() - start

    def run(self) -> Any:
        result = self._train() if self.case.mode == "training" else self._infer()
        if self.where == "cuda":
            torch.cuda.synchronize()
        return result

    def _forward(self) -> Any:
        if self.lengths is None:
            return self.module(self.xs)
        packed = pack_padded_sequence(self.xs, self.lengths, enforce_sorted=False)
        ys, state = self.module(packed)
        return pad_packed_sequence(ys, total_length=self.case.T)[0], state

    def _infer(self) -> Any:
        with torch.inference_mode():
            return self._forward()

    def _train(self) -> Any:
        loss = (self._forward()[0] * self.v).sum()
        return loss, torch.autograd.grad(loss, self.parameters)

    def canonical(self, result: Any) -> dict[str, np.ndarray]:
        if self.case.mode == "inference":
            ys, state = result
            h = state[0] if self.case.cell == "lstm" else state
            return inference_results(ys.cpu(), list(h.cpu()))
        loss, gradients = result
        arrays = [g.cpu().numpy() for g in gradients]
        sides = [_weights(self.case, arrays[k : k + 4]) for k in range(0, len(arrays), 4)]
        return training_results(loss.item(), sides)


def build(case: Case, data: Data) -> Program:
    return TorchProgram(case, data)


def _module(case: Case, data: Data) -> Any:
    kind = torch.nn.LSTM if case.cell == "lstm" else torch.nn.GRU
    both = case.num_directions == 2
    module = kind(case.D, case.H, num_layers=case.num_layers, bidirectional=both)
    state = {}
    for place, given in enumerate(data.weights):
        layer, way = divmod(place, case.num_directions)
        for name, array in zip(NAMES, _arrays(given), strict=True):
            state[f"{name}_l{layer}{'_reverse' if way else ''}"] = torch.tensor(array)
    module.load_state_dict(state)
    return module


def _arrays(given: Weights) -> tuple[np.ndarray, ...]:
    """Two biases, where ours is their sum but for a GRU's b_hn."""
    b_hh = np.zeros_like(given.b)
    if given.b_hn is not None:
        b_hh[-given.b_hn.size :] = given.b_hn
    return given.w_ih.T, given.w_hh.T, given.b, b_hh


def _weights(case: Case, arrays: list[np.ndarray]) -> Weights:
    w_ih, w_hh, b_ih, b_hh = arrays
    return Weights(w_ih.T, w_hh.T, b_ih, b_hh[2 * case.H :] if case.cell == "gru" else None)
