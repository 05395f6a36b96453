"""One generated token at a time, fast on a CPU: the same arithmetic as ``Dummy_Model``, other arrangement.

A step of generation multiplies a few vectors by every weight of the model, so it takes as long as reading the
weights from memory does, if nothing else is in the way. Two things are: a general matrix product is made for
many vectors and reads slowly for few, and each small operation costs microseconds whatever its size. So the
weights are laid out once as oneDNN wants them for this number of vectors, and what reads the same input
(queries, keys and values; gate and up) becomes one product. It all stays in torch's own threads: a second
library's, numpy's for instance, fight with them over the cores.

Shapes in the comments are those of ``Dummy_Model``: B batch, C channels, H heads, K key/value heads, D head width,
V vocabulary, S keys held.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from Dummy_Model import GPT, Block, KVCache


class PackedMatrix:
    """A weight (out, in) in oneDNN's own layout for about ``rows`` vectors at a time: a copy, made once."""

    def __init__(self, weight: Tensor, rows: int):
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)

    def __call__(self, x: Tensor) -> Tensor:
        """x (B, in) times the weight: (B, out)."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As ``RMSNorm``; for one short vector torch's own takes several times as long as these few operations."""
    return x * torch.rsqrt_(x.square().mean(-1, keepdim=True).add_(eps)) * weight


class PackedBlock:
    """The weights of one block, those that meet the same input in one matrix."""

    def __init__(self, block: Block, rows: int):
        attention, mlp = block.attention, block.mlp
        self.eps = attention.q_norm.eps
        self.attention_norm, self.mlp_norm = block.attention_norm.weight, block.mlp_norm.weight
        self.qkv = PackedMatrix(
            torch.cat((attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight)), rows
        )
        self.n_head, self.n_kv_head = attention.n_head, attention.n_kv_head
        q_scale = attention.q_norm.weight.expand(self.n_head, -1)
        self.qk_scale = torch.cat((q_scale, attention.k_norm.weight.expand(self.n_kv_head, -1)))  # (H + K, D)
        self.o = PackedMatrix(attention.o_proj.weight, rows)
        self.gate_up = PackedMatrix(torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)), rows)
        self.down = PackedMatrix(mlp.down_proj.weight, rows)

    def __call__(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, cache: KVCache, layer: int) -> Tensor:
        """x (B, C) -> (B, C), as ``Block.forward`` on one new token a row."""
        B, H, K = len(x), self.n_head, self.n_kv_head
        heads = self.qkv(rms_norm(x, self.attention_norm, self.eps)).view(B, H + 2 * K, -1)  # (B, H + 2 K, D)
        qk = rms_norm(heads[:, : H + K], self.qk_scale, self.eps)
        # Each channel meets its partner, D/2 further on; the sign of the first half is in sin.
        qk = (qk * cos + qk.roll(heads.shape[-1] // 2, -1) * sin)[:, :, None]  # (B, H + K, 1, D)
        k, v = cache.append(layer, qk[:, H:], heads[:, H + K :, None])  # (B, K, S, D)
        y = F.scaled_dot_product_attention(qk[:, :H], k, v, attn_mask=mask, enable_gqa=K != H)  # (B, H, 1, D)
        x = x + self.o(y.reshape(B, -1))
        gate, up = self.gate_up(rms_norm(x, self.mlp_norm, self.eps)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate).mul_(up))


class FastStep:
    """A model's weights arranged for generating ``rows`` tokens a step. It does not follow later training."""

    @staticmethod
    def serves(model: GPT) -> bool:
        """Whether this model can be packed: float32 on a CPU for which torch was built with oneDNN."""
        weight = model.embedding.weight
        packs = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        return packs and weight.device.type == "cpu" and weight.dtype == torch.float32

    @torch.inference_mode()
    def __init__(self, model: GPT, rows: int):
        self.model = model
        self.blocks = [PackedBlock(block, rows) for block in model.blocks]
        self.head = PackedMatrix(model.embedding.weight, rows)

    @torch.inference_mode()
    def __call__(self, ids: Tensor, cache: KVCache) -> Tensor:
        """One more token for each row: ids (B, 1) -> logits (B, V), the same as the model's own to rounding.

        Raises:
            ValueError: the cache, or the model's context, is full.
        """
        if cache.longest + 1 > cache.keys.shape[3]:
            raise ValueError(f"{cache.longest + 1} tokens don't fit the cache's {cache.keys.shape[3]}.")
        positions = cache.lengths  # (B,)
        mask = None
        if not cache.uniform:
            keys = torch.arange(cache.longest + 1)
            mask = (keys <= positions[:, None])[:, None, None]  # (B, 1, 1, S)
        cos, sin = self.model.rotary.cos[positions][:, None], self.model.rotary.sin[positions][:, None]
        cos, sin = torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)  # (B, 1, D)
        x = self.model.embedding(ids[:, 0])  # (B, C)
        for layer, block in enumerate(self.blocks):
            x = block(x, cos, sin, mask, cache, layer)
        cache.advance(1)
        return self.head(rms_norm(x, self.model.norm.weight, self.model.norm.eps))
