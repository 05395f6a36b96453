"""The language model: a decoder in the Qwen3 layout, small enough to hold in the head.

RMSNorm before each part, rotary positions, grouped-query attention with normalised queries and keys,
SwiGLU, no biases, tied embeddings. Needs nothing but torch (and safetensors to save and load).

Shapes in the comments: B batch, T time, C channels (``n_embd``), H heads, K key/value heads,
D head width, V vocabulary, S keys held (cache and new ones together).
"""

import hashlib
import json
import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

LOGITS_AT_ONCE = 2**24  # that the loss makes: 64 MB in float32
LOGITS_AT_ONCE_CUDA = 2**25  # the same on a GPU: small products leave it waiting, yet `full` has to fit in 8 GB
LARGEST = 2**22  # number that a configuration may name, so that a damaged one fails before anything is built
MODEL_FILES = ("model.safetensors", "config.json")  # that a saved model consists of
Rotation = tuple[Tensor, Tensor]  # cosines and signed sines of positions, as RotaryEmbedding.at makes them


def choose_device(name: str = "auto") -> torch.device:
    """CUDA if there is a GPU, else Apple's MPS, else the CPU; or the device of that name.

    Raises:
        ValueError: a device was asked for that is not there.
    """
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = best if name == "auto" else name
    try:  # torchrun gives each process a GPU of its own
        device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if kind == "cuda" else kind)
        if name != "auto":
            torch.zeros(1, device=device).item()  # the only sure way to know
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise ValueError(f"device={name!r} can't be used here ({reason}): use 'auto', or another torch.") from None
    return device


def choose_precision(device: torch.device, name: str = "auto") -> torch.dtype:
    """The type that matrix products run in.

    CUDA of capability 8 or more: bfloat16; older: float16 (``is_bf16_supported`` says yes to those too, by
    emulation). CPU: bfloat16 only where the processor has it. MPS: float32.

    Raises:
        ValueError: half precision on MPS, where attention may see the future (pytorch issue 195910).
    """
    if device.type == "mps" and name in ("bfloat16", "float16"):
        raise ValueError(f"precision={name!r} isn't safe on Apple's GPU: use 'float32'.")
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    abilities = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}  # torch 2.5 can't tell
    return torch.bfloat16 if abilities.get("avx512_bf16") or abilities.get("amx_bf16") else torch.float32


def check_number(name: str, value, whole: bool, low: float, high: float = sys.float_info.max) -> None:
    """Raises a ValueError, in one line, unless a setting is a (whole) number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
        most = f" and at most {high:,}" if high < sys.float_info.max else ""
        raise ValueError(f"{name} is {value!r}: it must be a {'whole ' * whole}number, at least {low}{most}.")


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model. Two models with equal configurations can share weights."""

    vocab_size: int
    context_length: int  # longest row, in tokens
    n_layer: int
    n_embd: int
    n_head: int
    n_kv_head: int  # n_head for full attention; fewer: each key/value head serves several query heads
    n_hidden: int | None = None  # width inside SwiGLU; None takes 8/3 n_embd, rounded up to a multiple of 64
    rope_theta: float = 10_000.0  # base of the rotary frequencies; larger for longer contexts
    norm_eps: float = 1e-6
    head_dim: int | None = None  # channels per head; None takes n_embd / n_head. Some published models differ

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name in ("rope_theta", "norm_eps"):  # beyond these the sums are inf, or all numbers come out as 0
                check_number(name, value, False, *((1, 1e12) if name == "rope_theta" else (1e-12, 1)))
            elif value is not None or name not in ("n_hidden", "head_dim"):
                check_number(name, value, whole=True, low=1, high=LARGEST)
        if self.head_dim is None and self.n_embd % self.n_head:
            raise ValueError(f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head}).")
        if self.n_head % self.n_kv_head:
            raise ValueError(f"n_head ({self.n_head}) must be a multiple of n_kv_head ({self.n_kv_head}).")
        if self.head_width % 2:
            raise ValueError(f"Heads are {self.head_width} channels wide: rotary positions need an even width.")
        object.__setattr__(self, "n_hidden", self.n_hidden or -(-8 * self.n_embd // (3 * 64)) * 64)

    @property
    def head_width(self) -> int:
        """Channels per head (D)."""
        return self.head_dim or self.n_embd // self.n_head

    @property
    def n_parameters(self) -> int:
        """Weights in the model; the output head shares the embedding's, so they count once."""
        width, q_width, kv_width = self.n_embd, self.n_head * self.head_width, self.n_kv_head * self.head_width
        attention = 2 * width * q_width + 2 * width * kv_width + 2 * self.head_width
        block = attention + 3 * width * self.n_hidden + 2 * width
        return self.vocab_size * width + self.n_layer * block + width


class KVCache:
    """Keys and values of the tokens seen so far, so that generating a token costs one token's work.

    Preallocated. Rows may hold different numbers of tokens: after reading right-padded prompts, ``rewind``
    to their true lengths, and what comes next is written over the padding, row by row.
    """

    def __init__(self, config: GPTConfig, batch: int, length: int, device: torch.device, dtype: torch.dtype):
        shape = (config.n_layer, batch, config.n_kv_head, length, config.head_width)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)  # (n_layer, B, K, length, D)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self._set_lengths(torch.zeros(batch, dtype=torch.long, device=device))

    def _set_lengths(self, lengths: Tensor) -> None:
        self.lengths = lengths  # tokens held, per row (B,)
        self.longest = int(lengths.max())  # kept as a number so that no step waits for the device
        self.uniform = bool((lengths == self.longest).all())  # then slices serve where gathers would be needed

    def rewind(self, lengths: Tensor) -> None:
        """Shortens each row to ``lengths`` (B,) tokens.

        Raises:
            ValueError: a row would grow.
        """
        lengths = lengths.to(self.lengths)
        if bool((lengths > self.lengths).any()):
            raise ValueError("rewind can only shorten rows: a length is beyond what the cache holds.")
        self._set_lengths(lengths.clone())

    def keep(self, rows: Tensor) -> None:
        """Keeps only the given rows (indices), in that order: finished sequences leave the batch."""
        self.keys, self.values = self.keys[:, rows].contiguous(), self.values[:, rows].contiguous()
        self._set_lengths(self.lengths[rows])

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Writes new keys and values (B, K, T, D) behind each row; returns all held (B, K, S, D)."""
        end = self.longest + k.shape[2]
        if self.uniform:
            self.keys[layer, :, :, self.longest : end] = k
            self.values[layer, :, :, self.longest : end] = v
        else:
            at = (self.lengths[:, None] + torch.arange(k.shape[2], device=k.device))[:, None, :, None].expand_as(k)
            self.keys[layer].scatter_(2, at, k)
            self.values[layer].scatter_(2, at, v)
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, T: int) -> None:
        """Counts T new tokens in every row, once all layers have written theirs."""
        self.lengths = self.lengths + T
        self.longest += T


class RMSNorm(nn.Module):
    """Scales each vector to root mean square 1, then by learned weights (Zhang & Sennrich, 2019)."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # In the weight's precision, so that autocast doesn't round the weight: it acts in training as it does later.
        y = F.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, self.eps)
        if torch.is_autocast_enabled(x.device.type):  # once here, not in each of the products that read it
            y = y.to(torch.get_autocast_dtype(x.device.type))
        return y


class RotaryEmbedding(nn.Module):
    """Positions as rotations of channel pairs (i, i + D/2), so that attention sees distances (Su et al., 2021)."""

    def __init__(self, head_width: int, context_length: int, theta: float):
        super().__init__()
        frequencies = theta ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)  # (D/2,)
        angles = torch.arange(context_length, dtype=torch.float64)[:, None] * frequencies  # (context_length, D/2)
        # Not saved with the weights: both follow from the configuration.
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def at(self, positions: Tensor) -> Rotation:
        """Cosines and signed sines for positions (T,) or (B, T), shaped to meet (B, H, T, D)."""
        cos, sin = self.cos[positions], self.sin[positions]  # (T, D/2) or (B, T, D/2)
        cos, sin = torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)
        return (cos, sin) if positions.dim() == 1 else (cos[:, None], sin[:, None])

    @staticmethod
    def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Turns each pair of channels (x1, x2) of x (B, H, T, D) into (x1 cos - x2 sin, x2 cos + x1 sin)."""
        partner = x.roll(x.shape[-1] // 2, dims=-1)  # x2 where x1 is, and the other way round
        return x * cos.to(x.dtype) + partner * sin.to(x.dtype)


class MultiHeadAttention(nn.Module):
    """Grouped-query attention (Ainslie et al., 2023) with normalised queries and keys (Qwen3)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        C, D = config.n_embd, config.head_width
        self.n_head, self.n_kv_head, self.head_width = config.n_head, config.n_kv_head, D
        self.q_proj = nn.Linear(C, config.n_head * D, bias=False)
        self.k_proj = nn.Linear(C, config.n_kv_head * D, bias=False)
        self.v_proj = nn.Linear(C, config.n_kv_head * D, bias=False)
        self.o_proj = nn.Linear(config.n_head * D, C, bias=False)
        self.q_norm = RMSNorm(D, config.norm_eps)
        self.k_norm = RMSNorm(D, config.norm_eps)

    def forward(self, x: Tensor, rotation: Rotation, mask: Tensor | None, cache: KVCache | None, layer: int) -> Tensor:
        B, T, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(B, T, self.n_head, self.head_width)).transpose(1, 2)  # (B, H, T, D)
        k = self.k_norm(self.k_proj(x).view(B, T, self.n_kv_head, self.head_width)).transpose(1, 2)  # (B, K, T, D)
        v = self.v_proj(x).view(B, T, self.n_kv_head, self.head_width).transpose(1, 2)  # (B, K, T, D)
        q, k = RotaryEmbedding.rotate(q, *rotation), RotaryEmbedding.rotate(k, *rotation)
        if cache is not None:
            k, v = cache.append(layer, k, v)  # (B, K, S, D)
        if q.is_cuda:  # no efficient kernel there takes grouped heads with a mask or in float32
            k, v = (x.repeat_interleave(self.n_head // self.n_kv_head, dim=1) for x in (k, v))  # (B, H, S, D)
        # Without a mask the rows are whole: plain causal attention, or one new token that may see everything.
        grouped, causal = k.shape[1] != self.n_head, mask is None and T > 1
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=grouped)
        return self.o_proj(y.transpose(1, 2).flatten(2))  # (B, H, T, D) -> (B, T, H D) -> (B, T, C)


class SwiGLU(nn.Module):
    """The feed-forward part: a gate decides how much of each hidden channel passes (Shazeer, 2020)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.n_embd, config.n_hidden, bias=False)
        self.up_proj = nn.Linear(config.n_embd, config.n_hidden, bias=False)
        self.down_proj = nn.Linear(config.n_hidden, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One layer: attention mixes tokens, then the feed-forward part processes each. Both add to what was there."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.attention_norm = RMSNorm(config.n_embd, config.norm_eps)
        self.attention = MultiHeadAttention(config)
        self.mlp_norm = RMSNorm(config.n_embd, config.norm_eps)
        self.mlp = SwiGLU(config)

    def forward(self, x: Tensor, rotation: Rotation, mask: Tensor | None, cache: KVCache | None, layer: int) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotation, mask, cache, layer)
        return x + self.mlp(self.mlp_norm(x))


class GPT(nn.Module):
    """Token ids in, a score for every possible next token out."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.recompute = False  # keep only what goes between blocks for the backward pass, and do the rest again
        self.embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.rotary = RotaryEmbedding(config.head_width, config.context_length, config.rope_theta)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.n_embd, config.norm_eps)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                # The head shares the embedding's weight, so at first the logit of the token just read is about std * C.
                # Around 5 it hardly matters among V, and the loss is near ln V; at width 768, 0.02 would make it 15.
                nn.init.normal_(weight, std=min(0.02, 5.12 / config.n_embd) if name == "embedding.weight" else 0.02)
            # What adds to the residual starts at zero: each block begins as the identity, and learning is steadier.
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(weight)

    def hidden(self, ids: Tensor, document_ids: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """The vectors before the output head: (B, T) -> (B, T, C). Arguments as for ``forward``."""
        T, held = ids.shape[1], 0 if cache is None else cache.longest
        if held + T > self.config.context_length:
            raise ValueError(f"{held + T} tokens are more than the model's context of {self.config.context_length}.")
        positions, mask = torch.arange(held, held + T, device=ids.device), None  # (T,)
        if cache is not None:
            if document_ids is not None:
                raise ValueError("document_ids go with whole rows, not with a cache.")
            if held + T > cache.keys.shape[3]:
                raise ValueError(f"{held + T} tokens don't fit the cache's {cache.keys.shape[3]}.")
            if not cache.uniform:
                positions = cache.lengths[:, None] + torch.arange(T, device=ids.device)  # (B, T)
            if not cache.uniform or (held and T > 1):
                keys = torch.arange(held + T, device=ids.device)
                mask = (keys <= positions[..., None]).view(-1, 1, T, held + T)  # (B or 1, 1, T, S)
        elif document_ids is not None:
            causal = torch.ones(T, T, dtype=torch.bool, device=ids.device).tril()
            mask = ((document_ids[:, :, None] == document_ids[:, None, :]) & causal)[:, None]  # (B, 1, T, T)
        x = self.embedding(ids)  # (B, T) -> (B, T, C)
        rotation = self.rotary.at(positions)
        for layer, block in enumerate(self.blocks):
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, rotation, mask, cache, layer, use_reentrant=False)
            else:
                x = block(x, rotation, mask, cache, layer)
        if cache is not None:
            cache.advance(T)
        return self.norm(x)

    def forward(self, ids: Tensor, document_ids: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Logits of the next token at every position, (B, T, V).

        Args:
            ids: (B, T) int64.
            document_ids: (B, T); tokens see only earlier ones of the same document. None: the row is one.
            cache: holds what came before; the new tokens are added to it.

        Raises:
            ValueError: the tokens don't fit the context or the cache.
        """
        return F.linear(self.hidden(ids, document_ids, cache), self.embedding.weight)  # (B, T, C) -> (B, T, V)

    def loss(self, ids: Tensor, targets: Tensor, document_ids: Tensor | None = None) -> Tensor:
        """Mean cross-entropy in nats over the targets (B, T) that are not -100; a ValueError if all are."""
        x, targets = self.hidden(ids, document_ids).flatten(0, 1), targets.flatten()  # (B T, C), (B T,)
        # Most of a conversation is not learned: the costliest product is done for the rest alone. Some ignored rows
        # fill up the number: oneDNN keeps what it prepares for a shape, and ever new shapes would eat the memory.
        learned = targets != -100
        rows = learned.nonzero()[:, 0]
        if not len(rows):
            raise ValueError("All targets are -100: there is nothing to learn, and no loss.")
        rows = torch.cat((rows, (~learned).nonzero()[: -len(rows) % 256, 0]))
        x, targets = x[rows], targets[rows]
        most_rows = max(1, (LOGITS_AT_ONCE_CUDA if x.is_cuda else LOGITS_AT_ONCE) // self.config.vocab_size)

        def chunk_loss(x: Tensor, targets: Tensor) -> Tensor:
            return F.cross_entropy(F.linear(x, self.embedding.weight), targets, reduction="sum")

        if len(x) <= most_rows:
            return F.cross_entropy(F.linear(x, self.embedding.weight), targets)
        # So many logits would be most of the memory: a chunk at a time, made again for the backward pass.
        total = x.new_zeros((), dtype=torch.float32)
        for chunk in zip(x.split(most_rows), targets.split(most_rows), strict=True):
            total = total + checkpoint(chunk_loss, *chunk, use_reentrant=False)
        return total / learned.sum()

    def new_cache(self, batch: int, length: int | None = None) -> KVCache:
        """An empty cache for ``batch`` rows of up to ``length`` tokens (the whole context if None)."""
        like = self.embedding.weight
        return KVCache(self.config, batch, length or self.config.context_length, like.device, like.dtype)

    def save(self, folder: str | Path) -> None:
        """Writes ``config.json`` and ``model.safetensors``: both, or neither with an OSError (the disk is full)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        temporary, config = [folder / f".{name}.tmp" for name in MODEL_FILES], json.dumps(asdict(self.config), indent=1)
        try:
            save_file(weights, temporary[0], {"config": config})  # so that ``load`` knows what belongs together
            temporary[1].write_text(config, encoding="utf-8")
            for path in temporary:
                with open(path, "rb+") as file:
                    os.fsync(file.fileno())
            for path, name in zip(temporary, MODEL_FILES, strict=True):  # once both are on disk
                os.replace(path, folder / name)
        except SafetensorError as error:
            raise OSError(f"{folder} can't take the weights; is the disk full? ({error})") from None
        finally:
            for path in temporary:
                path.unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: str | Path) -> "GPT":
        """Reads what ``save`` wrote. Where there is a ``manifest.json`` with hashes, here or above, it is held to.

        Raises:
            ValueError: the folder holds no model of ours, or a damaged one.
        """
        folder = Path(folder).resolve()
        try:
            _compare_with_manifest(folder)
            config = GPTConfig(**json.loads(text := (folder / "config.json").read_text(encoding="utf-8")))
            with safe_open(folder / "model.safetensors", "pt") as file:  # their number, before anything is built
                n_weights = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
                saved = (file.metadata() or {}).get("config", text)  # a kill may have come between the two files
            if n_weights != config.n_parameters:
                raise ValueError(f"{n_weights:,} weights, and by config.json there should be {config.n_parameters:,}")
            if json.loads(saved) != json.loads(text):
                raise ValueError("config.json isn't the one that model.safetensors was saved with: save both again")
            model = cls(config)
            model.load_state_dict(load_file(folder / "model.safetensors"))
            if not all(weight.isfinite().all() for weight in model.parameters()):
                raise ValueError("a weight isn't a finite number")
        except Exception as error:
            reason = (str(error) or repr(error)).splitlines()[0]
            raise ValueError(f"{folder} holds no readable model: {reason}") from None
        return model


def _compare_with_manifest(folder: Path) -> None:
    """Raises a ValueError if a model's files aren't those that a manifest in their folder, or above it, lists."""
    for above, inside in ((folder, ""), (folder.parent, f"{folder.name}/")):
        try:
            listed = json.loads((above / "manifest.json").read_text(encoding="utf-8"))["files"]
            known = {name: listed[inside + name]["sha256"] for name in MODEL_FILES}
        except (OSError, ValueError, KeyError, TypeError):  # none, or none of ours
            continue
        for name, sha256 in known.items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sha256:
                raise ValueError(f"{name} has changed since its manifest.json was written")
