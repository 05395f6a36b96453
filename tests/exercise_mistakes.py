"""Three wrong attempts at each exercise: the solution with one thing changed.

Most are the mistakes that the solutions warn of. An attempt that spoils what the others need comes last.
"""

# (lesson, exercise): [(what stands in the solution, what stands there instead), ...]
MISTAKES = {
    ("1_Tokenizer/0_before_we_start", 1): [
        ("counts += extra", "counts = counts.clamp(min=extra)"),
        ("sum(1, keepdim=True)", "sum(0, keepdim=True)"),
        ("counts[before, after]", "counts[after, before]"),
    ],
    ("1_Tokenizer/0_before_we_start", 2): [
        ("table[unseen[:-1]], unseen[1:]", "table[ids[:-1]], ids[1:]"),
        ("table -= 10", "table += 10"),
        ("range(steps)", "range(steps - 1)"),
    ],
    ("1_Tokenizer/1_byte_pair_encoding", 1): [
        ("min(joins)[1]", "joins[0][1]"),
        ("min(joins)[1]", "max(joins)[1]"),
        ("for piece in pieces]", "for piece in pieces[:-1]]"),
    ],
    ("1_Tokenizer/1_byte_pair_encoding", 2): [
        ('other.encode("utf-8")) /', "other) /"),
        ("train(texts,", "train([other],"),
        (
            'len(other.encode("utf-8")) / len(tokenizer.encode(other))',
            'len(tokenizer.encode(other)) / len(other.encode("utf-8"))',
        ),
    ],
    ("2_Pretraining_Data/1_books_to_shards", 1): [
        (" - 1)", ")"),
        ("prepend=-1", "prepend=0"),
        ("ends = np.flatnonzero(shard == end)", "ends = np.append(np.flatnonzero(shard == end), len(shard))"),
    ],
    ("2_Pretraining_Data/1_books_to_shards", 2): [
        ('" " + " ".join(words) + " "', '" ".join(words)'),
        ('.replace("_", " ")', ""),
        ("not in kept", "in kept"),
    ],
    ("2_Pretraining_Data/2_library_hygiene", 1): [
        ("min(a, b)", "max(a, b)"),
        (" / (1 + s)", ""),
        ("common / min(a, b)", "common / (a + b - common)"),
    ],
    ("2_Pretraining_Data/2_library_hygiene", 2): [
        ("value >= threshold", "value > threshold"),
        ("value < threshold", "value <= threshold"),
        ("min([*good, *bad]", "max([*good, *bad]"),
    ],
    ("3_Model_Pipeline/0_tensors_and_gradients", 1): [
        ("        w.grad = b.grad = None\n", ""),
        ("w -= rate", "w += rate"),
        ("            b -= rate * b.grad\n", ""),
    ],
    ("3_Model_Pipeline/0_tensors_and_gradients", 2): [
        ("x = self.embedding(pairs).flatten(1)", "x = self.embedding(pairs).sum(1).repeat(1, 2)"),
        ("nn.Linear(hidden, V)", "nn.Linear(hidden, V + 1)"),
        ("F.relu(self.hidden(x))", "torch.ones_like(self.hidden(x))"),
    ],
    ("3_Model_Pipeline/1_attention", 1): [
        ("< width", "<= width"),
        ("distance >= 0", "distance > 0"),
        ("(distance >= 0) & ", ""),
    ],
    ("3_Model_Pipeline/1_attention", 2): [
        ("triu(2)", "triu(1)"),
        ("triu(2)", "triu(3)"),
        ("math.log(4) / 5", "0.56"),
    ],
    ("3_Model_Pipeline/2_block_and_model", 1): [
        ("b * angles.cos() + a", "b * angles.cos() - a"),
        ("x[0::2], x[1::2]", "x[: len(x) // 2], x[len(x) // 2 :]"),
        ("position * frequencies", "frequencies"),
    ],
    ("3_Model_Pipeline/2_block_and_model", 2): [
        ("3 * config.n_hidden // 2", "4 * config.n_embd"),
        ("nn.ReLU()", "nn.Identity()"),
        ("nn.Linear(width, config.n_embd, bias=False)", "nn.Linear(width, config.n_embd)"),
    ],
    ("3_Model_Pipeline/3_data_loss_and_optimizers", 1): [
        ("ids.clone()", "ids"),
        ("if not torch", "if torch"),
        ("range(ids.shape[1])", "range(t + 1)"),
    ],
    ("3_Model_Pipeline/3_data_loss_and_optimizers", 2): [
        ("(step + 1)", "step"),
        ("1.0, falling", "1.0"),
        ("(max_steps / 5)", "max_steps"),
    ],
    ("4_Pretraining/1_pretrain", 1): [
        ("(some_targets != -100).sum() / total", "len(some_ids) / len(ids)"),
        ("(targets != -100).sum(), 0.0", "targets.numel(), 0.0"),
        ("        loss.backward()\n", ""),
    ],
    ("4_Pretraining/1_pretrain", 2): [
        ("(limit / norm)", "(limit / (g**2).sum() ** 0.5)"),
        ("if norm > limit", "if norm < limit"),
        (") ** 0.5", ")"),
    ],
    ("4_Pretraining/1_pretrain", 3): [
        ("sum(losses[-10:]) / 10", "losses[0]"),
        ("sum(losses[-10:]) / 10", "sum(losses[-10:])"),
        ("sum(losses[-10:]) / 10", "sum(losses) / len(losses)"),
    ],
    ("4_Pretraining/2_data_parallel", 1): [
        (" if count]", "]"),
        ("/ sum(counts)", "/ len(counts)"),
        ("gradient * count for", "gradient for"),
    ],
    ("4_Pretraining/2_data_parallel", 2): [
        ("work / n", "work"),
        ("(n - 1) / n", "(n - 1)"),
        ("2 * (n - 1)", "(n - 1)"),
    ],
    ("5_SFT_Data/1_conversations", 1): [
        ("> size", ">= size"),
        ("rows[-1].append(length)", "rows[0].append(length)"),
        ("sum(rows[-1]) + length", "sum(rows[-1])"),
    ],
    ("5_SFT_Data/1_conversations", 2): [
        ("range(i + 1)", "range(i)"),
        (" if row[place] == row[i]", ""),
        ("range(i + 1)", "range(len(row))"),
    ],
    ("5_SFT_Data/2_eleven_datasets", 1): [
        ('row.get("solution")', 'row["solution"]'),
        ('row.get("riddle")', 'row.get("solution")'),
        ("adapters.vet([user, assistant])", "[user, assistant]"),
    ],
    ("5_SFT_Data/2_eleven_datasets", 2): [
        ("in last) / len(last)", "in {*last}) / len({*last})"),
        (".lower()", ""),
        ("word in known for", "word not in known for"),
    ],
    ("5_SFT_Data/3_exams_and_rows", 1): [
        ("len(one | other)", "len(one)"),
        ("set(plain(a).split()), set(plain(b).split())", "set(a.split()), set(b.split())"),
        ("one & other", "one | other"),
    ],
    ("5_SFT_Data/3_exams_and_rows", 2): [
        ("in set(answers)", "in answers"),
        ("most_common(1)[0]", "most_common()[-1]"),
        ("most_common(1)[0]", "most_common(1)[0][0]"),
    ],
    ("6_SFT_Training/1_finetune", 1): [
        (" / length", ""),
        ("start += length", "start = length"),
        ("total / len(lengths)", "sum(losses) / len(losses)"),
    ],
    ("6_SFT_Training/1_finetune", 2): [
        ('" ".join', '"".join'),
        (".lower()", ""),
        ('.removesuffix(".")', ""),
    ],
    ("6_SFT_Training/2_what_if", 1): [
        (".strip()", ""),
        ("/ len(texts)", "/ len(endings)"),
        (" if texts else 0.0", ""),
    ],
    ("6_SFT_Training/2_what_if", 2): [
        ("controls.sums(600, 1, share)", "controls.sums(600, 1, 1.0)"),
        ("[1]", "[1] / 81"),
        ("copy.deepcopy(base)", "base"),
    ],
    ("6_SFT_Training/2_what_if", 3): [
        ("in things]", "in things[:3]]"),
        ("Arr! {one}, matey!", "Arr!"),
        ("Say it like a pirate: {one}.", "Say it!"),
    ],
    ("7_Sampling/1_choosing_words", 1): [
        ("share * max(odds)", "share"),
        (" / sum(kept)", ""),
        ("max(odds)", "min(odds)"),
    ],
    ("7_Sampling/1_choosing_words", 2): [
        ("dart < end", "dart <= end"),
        ("end += one", "end = one"),
        ("return len(odds) - 1", "return None"),
    ],
    ("7_Sampling/2_talk_to_your_model", 1): [
        ("range(len(lengths))", "range(len(lengths) + 1)"),
        ("<= room", "< room"),
        ("lengths[number:]", "lengths[: len(lengths) - number]"),
    ],
    ("7_Sampling/2_talk_to_your_model", 2): [
        ("range(min(len(stop), len(text)), 0, -1)", "range(1, min(len(stop), len(text)) + 1)"),
        ("text[: text.index(stop)]", "text"),
        ("stop.startswith(text[-length:])", "text[-length:] == stop"),
    ],
    ("7_Sampling/3_how_good_is_it", 1): [
        ('text.encode("utf-8")', "text"),
        ("math.log2", "math.log"),
        ("-math", "math"),
    ],
    ("7_Sampling/3_how_good_is_it", 2): [
        ("[-1 - out]", "[-out]"),
        ("// 40", "// 20"),
        ("sorted(", "list("),
    ],
    ("7_Sampling/4_exams", 1): [
        ("sum(old[row])", "sum(new[row])"),
        ("max(range", "min(range"),
        ("sum(new[best])", "sum(old[best])"),
    ],
    ("7_Sampling/4_exams", 2): [
        ("re.search", "re.match"),
        (", re.IGNORECASE", ""),
        ("and not found(reject)", "or not found(reject)"),
    ],
    ("7_Sampling/5_take_it_with_you", 1): [
        ('".attention.", ".self_attn."', '"attention", "self_attn"'),
        ('"model." + name', "name"),
        ('.replace("blocks.", "layers.")', ""),
    ],
    ("7_Sampling/5_take_it_with_you", 2): [
        ("data[2:]", "data[:2]"),
        ("bytes(2) + data[2:]", "data[2:] + bytes(2)"),
        ("data[2:]", 'struct.pack("<f", round(x))[2:]'),
    ],
    ("7_Sampling/6_what_comes_next", 1): [
        ("(chosen - ref_chosen) - (rejected - ref_rejected)", "chosen - rejected"),
        ("-beta * lead", "beta * lead"),
        ("-beta * lead", "-lead"),
    ],
    ("7_Sampling/6_what_comes_next", 2): [
        ("value / tokens", "value"),
        ("> per_token", "< per_token"),
        (" / len(pairs)", ""),
    ],
}
