# %% [markdown]
# # 9. On a GPU, with Qwen2.5-Math and its PRM
#
# **Question:** how do I run this on real checkpoints: which settings, on which GPU, at what cost, and which numbers should
# come out?
#
# Two papers give the settings. Puri et al. 2025 ([arXiv 2502.01618](https://arxiv.org/abs/2502.01618)) filter Qwen2.5-Math
# and Llama 3 with Qwen2.5-Math-PRM-7B; OptScale (Wang et al. 2026, [arXiv 2506.22376](https://arxiv.org/abs/2506.22376))
# draws Best-of-N from DeepSeek-R1-Distill-Qwen-7B until enough is enough.
#
# Cells tagged `gpu` need a GPU and download about 18 GB; without a GPU they are skipped and say so. Everything else runs
# here, through the same functions: on the embedded checkpoints, or on tiny random models of the true architectures.

# %%
import json
import os
import shlex
import tempfile
from importlib.util import find_spec

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.stats import binomtest
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
from transformers.utils.logging import disable_progress_bar

from ppl_scaling.backends import PRESETS, TransformersLanguageModel, load_reward_model
from ppl_scaling.backends.reward_models import Qwen2ForProcessRewardModel
from ppl_scaling.cli import app
from ppl_scaling.inference import ParticleFilter, evaluate, read_evaluation, summarize
from ppl_scaling.inference.optscale import OptScale
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import generate_problems, read_problems

SMOKE = "CI" in os.environ
GPU = torch.cuda.is_available() and not SMOKE  # set it to False to stay offline on a machine with a GPU
NO_GPU = "skipped: this cell needs a GPU, and the checkpoints"
disable_progress_bar()
os.chdir(tempfile.mkdtemp())  # what is written here is thrown away; take a folder that stays

# %% [markdown]
# ## The settings of the papers
#
# A *preset* holds what a paper fixes: the prompt, where a step and an answer end, the sampler and its limits. A step ends
# where its `boundary` says (here at an empty line); an answer at the model's end-of-text token, or as soon as `stop` finds
# a `\boxed{}`.

# %%
for preset in PRESETS.values():
    limits = f"{preset.max_steps} steps of {preset.max_step_tokens} tokens, {preset.max_tokens or 'no limit'} in all"
    print(f"{preset.name:14s} temperature {preset.temperature}, top_p {preset.top_p}, {limits}")
    print(f"{'':14s} boundary {preset.boundary}, stop {preset.stop}\n{'':14s} from {preset.source}\n")

# %% [markdown]
# ## Two models, one function
#
# The language model takes one part of a preset, the state space the other. Anything given beside a preset wins over it, here
# as on the command line.


# %%
def load(language_model, reward_model, preset, *, devices=(None, None), dtype=None, aggregation=None, **changes):
    """A state space of two checkpoints: folders, or names on the hub."""
    writing, sampling = preset.for_language_model(), preset.for_state_space()
    writing |= {name: value for name, value in changes.items() if name not in sampling}
    sampling |= {name: value for name, value in changes.items() if name in sampling}
    return LanguageModelStateSpace(
        TransformersLanguageModel.from_pretrained(language_model, device=devices[0], dtype=dtype, **writing),
        load_reward_model(reward_model, device=devices[1], dtype=dtype, aggregation=aggregation),
        **sampling,
    )


def show(model, problem, num_particles):
    """Filter, and print the posterior over answers."""
    result = ParticleFilter(model, num_particles=num_particles).run(problem, seed=0)
    print(f"{model.reward_model}, {model.likelihood}")
    for answer in result.answers[:3]:
        print(f"  {answer.answer:>6s}  {answer.probability:.3f} ± {answer.standard_error:.3f}")
    print(f"  no answer {result.no_answer_probability:.3f}; {result.truncated.sum()} of {num_particles} truncated")
    print(f"  {result.generated_tokens} tokens written; {result.lm_tokens_forwarded} passed through the language model,")
    print(f"  {result.prm_tokens_forwarded} through the reward model")
    return result


# The embedded models know neither the prompt nor the empty lines of the preset.
EMBEDDED = {"system_prompt": None, "boundary": "\n", "micro_batch": 64}
problem = generate_problems(1, seed=7)[0].problem
embedded = load(LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH, PRESETS["qwen2.5-math"], **EMBEDDED)
result = show(embedded, problem, 8 if SMOKE else 32)

# %% [markdown]
# Next, the two architectures of the paper, random and with two thin layers, but saved to and loaded from disk like the real
# ones. The preset needs no change now, except that random models never stop. `load_reward_model` recognises the PRM by the
# architecture in its `config.json` and runs this package's code for it. (The checkpoint's own code gives about 0.50003 to
# everything under transformers 5. A model that gives one score to all steps is refused when it is loaded.)

# %%
tokenizer = AutoTokenizer.from_pretrained(LANGUAGE_MODEL_PATH)
tokenizer.add_tokens(["<extra_0>"], special_tokens=True)  # where Qwen2.5-Math-PRM reads its score
tiny = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
tiny |= {"num_key_value_heads": 2, "vocab_size": len(tokenizer), "max_position_embeddings": 1024, "initializer_range": 0.3}
tiny |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
torch.manual_seed(0)
for folder, architecture in {"tiny-lm": Qwen2ForCausalLM, "tiny-prm": Qwen2ForProcessRewardModel}.items():
    architecture(Qwen2Config(**tiny)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)

random = load("tiny-lm", "tiny-prm", PRESETS["qwen2.5-math"], max_step_tokens=8, max_steps=5)
unwritten = show(random, problem, 4)

# %% [markdown]
# And the real ones: the same call with their names. With two GPUs each model has its own; with one they share it.

# %% tags=["gpu"]
if GPU:
    devices = ("cuda:0", "cuda:1" if torch.cuda.device_count() > 1 else "cuda:0")
    qwen = load(
        "Qwen/Qwen2.5-Math-1.5B-Instruct",
        "Qwen/Qwen2.5-Math-PRM-7B",
        PRESETS["qwen2.5-math"],
        devices=devices,
        dtype="bfloat16",
    )
    show(qwen, problem, 8)
else:
    print(NO_GPU)

# %% [markdown]
# **Where a model goes.** `device="cuda:1"` puts it on one GPU; left out, it goes to the first GPU, or to the CPU where
# there is none. `device_map="auto"` spreads a model that no single GPU holds (Qwen2.5-Math-PRM-72B) over all of them, in
# place of `device`; it needs `pip install accelerate`. Both loaders take it. On the
# command line: `--device cuda:0 --prm-device cuda:1`, and for the language model `--device-map auto`.

# %%
if find_spec("accelerate"):
    spread = TransformersLanguageModel.from_pretrained("tiny-lm", device_map="auto", dtype="bfloat16")
    print(f"{spread.model.device}, {spread.model.dtype}, context of {spread.context_length} tokens")
else:
    print("skipped: accelerate is not installed")

# %% [markdown]
# ## Will it fit?
#
# Weights take two bytes a parameter in bfloat16. Then there is a cache of keys and values in *each* model: two numbers for
# every layer, key-value head and head dimension of each token. We build the true architectures on torch's `meta` device,
# which has shapes and no memory, and count.

# %%
small = {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2}
small |= {"vocab_size": 151936, "tie_word_embeddings": True}
large = {"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4}
large |= {"vocab_size": 152064}
SHAPES = {
    "Qwen2.5-Math-1.5B": (Qwen2ForCausalLM, small),
    "Qwen2.5-Math-7B": (Qwen2ForCausalLM, large),  # and R1-Distill-Qwen-7B
    "Qwen2.5-Math-PRM-7B": (Qwen2ForProcessRewardModel, large),
}
weights, per_token = {}, {}
for name, (architecture, shape) in SHAPES.items():
    with torch.device("meta"):
        shapes = architecture(Qwen2Config(num_hidden_layers=28, **shape))
    weights[name] = 2 * sum(one.numel() for one in shapes.parameters())
    per_token[name] = 2 * 2 * 28 * shape["num_key_value_heads"] * 128
    print(f"{name:20s} weights {weights[name] / 1e9:5.1f} GB, cache {per_token[name] / 1e3:5.1f} kB a token")

# %% [markdown]
# A batch has as many rows as problems times particles (`--batch-size`, 8 by default, times `--num-particles`), and its cache
# is a rectangle: the rows by the tokens of the longest, prompt included. Rows that have ended leave it.

# %%
LENGTH = 1000
rows = np.array([8, 64, 256, 512])
language, reward = "Qwen2.5-Math-1.5B", "Qwen2.5-Math-PRM-7B"
parts = {
    "weights, language model": np.full(4, weights[language]),
    "weights, reward model": np.full(4, weights[reward]),
    "cache, language model": rows * LENGTH * per_token[language],
    "cache, reward model": rows * LENGTH * per_token[reward],
}
bottom = np.zeros(4)
for (label, part), hatch, gray in zip(parts.items(), ["", "//", "", ".."], ["0.35", "0.6", "0.8", "1.0"], strict=True):
    plt.bar([str(one) for one in rows], part / 1e9, bottom=bottom, label=label, color=gray, hatch=hatch, edgecolor="black")
    bottom = bottom + part / 1e9
for size in (24, 80):
    plt.axhline(size, color="black", linestyle="--", linewidth=1)
    plt.text(-0.45, size + 0.7, f"a GPU of {size} GB")
plt.xlabel("rows (problems times particles)")
plt.ylabel("memory (GB)")
plt.title(f"{language} and {reward},\nbfloat16, {LENGTH} tokens a row")
plt.legend(loc="upper left", bbox_to_anchor=(0, 0.9))
plt.ylim(0, 90)
plt.show()

# %% [markdown]
# Both fit on one GPU of 24 GB with some 30 rows, and on one of 80 GB with about 500: beside what is drawn, leave about a
# quarter of the caches free for copies. (Attention repeats the keys and values of one layer at a time, and the cache grows
# by copying.) Logits take 0.6 MB a row in float32, several times.
#
# If memory runs out all the same, the run goes on. First, the rows pass in *micro-batches*, and a size that failed is halved
# (each pass then does less at once; every token still passes once). Then, a cache that the GPU cannot hold goes on in main
# memory: right, and slow, for each pass fetches it. Only if there is no room for one row does it end in
# `MemoryExhaustedError`, which says what to make smaller. Here a "GPU" that takes no more than five rows:


# %%
def too_small(module, args, kwargs):
    if len(kwargs["input_ids"]) > 5:
        raise torch.OutOfMemoryError("CUDA out of memory (pretended)")


language_model = embedded.language_model
hook = language_model.model.register_forward_pre_hook(too_small, with_kwargs=True)
print(f"micro-batch {language_model.micro_batch.num_rows}, log evidence {result.log_evidence:.4f}")
again = ParticleFilter(embedded, num_particles=result.num_particles).run(problem, seed=0)
print(f"micro-batch {language_model.micro_batch.num_rows}, log evidence {again.log_evidence:.4f}")
hook.remove()
language_model.micro_batch.num_rows = None  # all rows at once again

# %% [markdown]
# What was learnt is kept for as long as the model is loaded, so only the first run pays for it. Set `micro_batch=` or
# `--micro-batch` at once if you know it. (The reward model has one of its own, `reward_model.micro_batch.num_rows`.)
#
# ## A small budget first
#
# Problems come as JSON lines. MATH-500 has the fields `problem`, `answer` and `unique_id` (among others):
#
# ```console
# $ hf download HuggingFaceH4/MATH-500 test.jsonl --repo-type dataset --local-dir math500
# $ ppl-scaling evaluate math500/test.jsonl --id-field unique_id --limit 20 --num-particles 4 --output first.jsonl \
#       --model Qwen/Qwen2.5-Math-1.5B-Instruct --prm Qwen/Qwen2.5-Math-PRM-7B --preset qwen2.5-math --dtype bfloat16
# ```
#
# Below a file with the same fields, and the same command on the embedded models. (`app` is what the command `ppl-scaling`
# calls; the function spares us a new process.)


# %%
def shell(line):
    print("$", line)
    app(shlex.split(line)[1:], standalone_mode=False)


with open("test.jsonl", "w") as file:
    for number, one in enumerate(generate_problems(4 if SMOKE else 20, num_steps=3, seed=1)):
        row = {"unique_id": f"test/words/{number}.json", "problem": one.problem, "answer": one.answer}
        print(json.dumps(row | {"solution": "\n".join(one.steps), "subject": "Words", "level": 1}), file=file)

FIRST = "ppl-scaling evaluate test.jsonl --id-field unique_id --num-particles 4 --output first.jsonl"
shell(FIRST)

# %% [markdown]
# Read it in this order.
#
# 1. `failed` and `not graded in time` should be 0; each line of `first.jsonl` has its `error`.
# 2. *Truncated* trajectories have no answer. Many of them mean that a limit is too tight (`--max-step-tokens`,
#    `--max-tokens`) or that the answer's form is not found. `--keep-trajectories` records what was written.
# 3. The accuracy with its interval over problems. Twenty problems say little.
# 4. Tokens and time, from which the cost of the whole run follows. (On a GPU the peak is that of its memory.)

# %%
first = summarize(read_evaluation("first.jsonl"))
seconds, tokens = first.seconds / first.num_records, first.generated_tokens / first.num_records
print(f"{tokens:.0f} tokens written for a problem with 4 particles: {tokens / 4:.0f} for each")
print(f"500 problems with 64 particles write about {500 * 16 * tokens / 1e6:.1f} million tokens")
print(f"and take at most {500 * 16 * seconds / 3600:.1f} hours of this machine; less where larger batches are faster")

# %% [markdown]
# **What costs what.** A token costs about two operations a parameter in each model that it passes. So scoring with a 7B PRM
# costs several times what writing with a 1.5B model does, though it takes less time than that: the PRM reads a whole step at
# once, while the language model runs once for every token of a step, and has to fetch all its weights each time. Every
# method with $N$ particles or completions pays about the same; only those that look at no score (`majority-vote` and the
# self-consistencies, `pass@1`, `greedy`) need no PRM.

# %%
operations = 500 * 64 * 500 * np.array([weights[language], weights[reward]])  # 2 operations, 2 bytes: they cancel
print("MATH-500, 64 particles, 500 tokens each:", ", ".join(f"{one / 1e15:.0f}" for one in operations), "PFLOP")
print(f"a GPU with 3.35 TB/s reads the weights of {language} in {weights[language] / 3.35e12 * 1e3:.1f} ms")

# %% [markdown]
# ## Stop and go on
#
# Each result is on the disk before the next batch begins. Interrupt a run, or have it killed, and give the same command
# again: it goes on. The devices and the micro-batch may be others then; the models, their dtype and all else may not. The
# same with `evaluate` in Python, interrupted here after its first batch. (There a file is bound to `method.configuration`,
# which does not name the checkpoints: give each pair of models a file of its own.)

# %%
problems = read_problems("test.jsonl", id_field="unique_id")
method = ParticleFilter(embedded, num_particles=4)


def interrupt(record):
    raise KeyboardInterrupt


try:
    evaluate(method, problems, "python.jsonl", batch_size=2, on_record=interrupt)
except KeyboardInterrupt:
    print(f"interrupted: {len(read_evaluation('python.jsonl'))} of {len(problems)} problems are done")
new = []
records = evaluate(method, problems, "python.jsonl", batch_size=2, on_record=new.append)
print(f"gone on: {len(new)} new, {len(records)} in all")
try:
    evaluate(ParticleFilter(embedded, num_particles=8), problems, "python.jsonl", batch_size=2)
except ValueError as error:
    print(f"other settings are refused: {error}")

# %% [markdown]
# ## The curve of the paper
#
# `curve` runs methods and budgets on the same problems, shares the completions of Best-of-N and votes, and goes on in the
# same way: begin with `--budgets 1 4`, add 16 and 64 later. With the models of the paper it needs the options of the first
# command besides.

# %%
BUDGETS = "1 2" if SMOKE else "1 2 4 8"
shell(f"ppl-scaling curve test.jsonl --id-field unique_id --methods particle-filter best-of-n --budgets {BUDGETS} "
      "--seeds 0 --output-dir curve")  # fmt: skip
plt.figure(figsize=(10, 4.5))
plt.imshow(plt.imread("curve/curve.png"))
plt.axis("off")
plt.show()

# %% [markdown]
# At budget 1 both methods are the same thing, one sampled answer. How far they lie apart there is what so few problems and
# one seed are worth.
#
# **Three filters share a name.** The paper's equation 2 weighs by the score of each step: our default for Qwen2.5-Math-PRM,
# whose scores are of steps. The code released with it weighs by the odds of the score of the *whole* prefix, resamples
# multinomially at every step, and answers by the best score:
#
# | what | options |
# |---|---|
# | equation 2 | none |
# | whole-prefix scores, as a value function | `--aggregation whole-prefix`, which makes the likelihood the twist |
# | near the released code | `--aggregation whole-prefix --likelihood odds --resampling multinomial --choice best_score` |
#
# (`odds` resamples at every step by itself. The released code also replaces the empty lines between the steps.) On a GPU:

# %% tags=["gpu"]
MODELS = "--model Qwen/Qwen2.5-Math-1.5B-Instruct --prm Qwen/Qwen2.5-Math-PRM-7B --preset qwen2.5-math --dtype bfloat16"
RELEASED = "--aggregation whole-prefix --likelihood odds --resampling multinomial --choice best_score"
if GPU:
    shell(FIRST.replace("first", "gpu") + " " + MODELS)
    shell(FIRST.replace("first", "released") + f" {MODELS} {RELEASED}")
else:
    print(NO_GPU)
    shell(FIRST.replace("first", "released") + " " + RELEASED)

# %% [markdown]
# ## What to expect
#
# Table 1 of Puri et al.: MATH-500 and AIME 2024, at budget 64, in percent; with what the number of problems alone leaves
# open (95 % Wilson intervals, ours; the paper gives none).

# %%
TABLE = {  # generator: Pass@1, best-of-n, weighted best-of-n, DVTS, particle filter; each on MATH-500 and AIME 2024
    "Llama-3.2-1B": [(26.8, 0.0), (46.6, 3.3), (47.8, 3.3), (52.8, 6.6), (59.6, 10.0)],
    "Llama-3.1-8B": [(49.9, 6.6), (58.6, 10.0), (59.0, 10.0), (65.7, 13.3), (74.4, 16.6)],
    "Qwen2.5-Math-1.5B": [(70.0, 10.0), (82.6, 13.3), (82.8, 13.3), (83.4, 16.6), (85.4, 23.3)],
    "Qwen2.5-Math-7B": [(79.6, 16.6), (83.0, 20.0), (84.6, 20.0), (85.4, 20.0), (87.0, 23.3)],
}
METHODS = {"Pass@1": "x", "best-of-n": "s", "weighted best-of-n": "D", "DVTS": "^", "particle filter": "o"}
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
for column, (axis, num_problems) in enumerate(zip(axes, (500, 30), strict=True)):
    for place, (name, marker) in enumerate(METHODS.items()):
        for height, row in enumerate(TABLE.values()):
            right = round(row[place][column] / 100 * num_problems)
            interval = binomtest(right, num_problems).proportion_ci(method="wilson")
            y = height + (2 - place) * 0.14
            axis.plot([100 * interval.low, 100 * interval.high], [y, y], color="0.6", linewidth=1)
            face = "black" if marker in "ox" else "white"
            label = name if height == 0 else None
            axis.plot(100 * right / num_problems, y, marker, color="black", markerfacecolor=face, markersize=5, label=label)
    axis.set_xlabel(f"accuracy on {('MATH-500', 'AIME 2024')[column]} (%)")
axes[0].set_yticks(range(len(TABLE)), TABLE)
axes[1].legend(fontsize=8)
plt.tight_layout()
plt.show()

# %% [markdown]
# On MATH-500 with Llama the filter's interval is clear of both forms of Best-of-N, and for the 8B model of DVTS too. With
# Qwen2.5-Math the intervals of all methods but Pass@1 overlap, and on the 30 problems of AIME all do. (Methods that ran on
# the same problems are better compared problem by problem: `curve` gives that interval.)
#
# **Begin at budget 1.** There every method is one sampled answer, and what differs from the paper is prompt, model or
# grader, not inference. The paper's figure 2 starts at about 71 % for Qwen2.5-Math-1.5B, 77 % for 7B, 41 % for Llama-3.1-8B
# and 21 % for Llama-3.2-1B; the Pass@1 of its table is another number for three of the four. `--method pass@1` is sampled,
# `--method greedy` is not.
#
# Above budget 1, expect other numbers than the paper's, for reasons that can be named:
#
# * **Their weights are others.** Equation 2 multiplies scores, so that longer answers weigh less; algorithm 1 as printed
#   takes a softmax of scores, which hardly tells particles apart; the released code takes odds.
# * **Saturation.** That code computes the PRM's probabilities in bfloat16, where all above 0.998 are exactly 1, and then
#   takes their odds. We take the head's logits in float32, whatever the model runs in:

# %%
scores = torch.tensor([0.9985] + 7 * [0.995])
for name, log_weights in {
    "the score": scores.log(),
    "odds, float32 logits": torch.logit(scores.double()),
    "odds, bfloat16 probabilities": torch.logit(scores.bfloat16().double(), eps=2.2e-16),  # clipped as there
}.items():
    weight = torch.softmax(log_weights.double(), 0)
    print(f"{name:29s} share of the best of 8: {weight[0]:.3f}, effective sample size {1 / weight.square().sum():.1f}")

# %% [markdown]
# * **Handicapped baselines.** The shipped recipes of Best-of-N and DVTS for Qwen2.5-Math leave Llama's chat template on.
#   Here every method writes with the same prompt, so expect a stronger Best-of-N and a smaller lead.
# * **Graders differ** by a point or so: theirs is the parser of Qwen2.5-Math, ours is math-verify.
# * **Near 1, scores say little.** If `ess` stays at the number of particles, the filter is Best-of-N that votes; if it
#   drops to 1 at every step, it is a greedy search. Tutorial 3 shows how to look; `ppl-scaling calibrate` maps scores to
#   what they are worth.
#
# We had no GPU for these runs: no accuracy of ours on MATH-500 is claimed anywhere. Tell us yours.
#
# ## OptScale's settings
#
# The preset `optscale` draws whole answers of up to 10 000 tokens with temperature 0.7 and nucleus 0.95, and a completion
# is worth the *mean* score of its steps. The paper's rule without a predictor, `optscale_0`, peeks at five sixteenths of
# what is allowed, fits a truncated normal by maximum likelihood and draws what that asks for. `guarantee` is the Bayesian
# rule of this library: it asks again after every round and knows that it has seen few scores (tutorial 7).

# %%
# The last score of the embedded reward model already speaks of the whole answer; of steps' scores take aggregation="mean".
optscale = load(LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH, PRESETS["optscale"], max_tokens=200, **EMBEDDED)
for rule in ("optscale_0", "guarantee"):
    drawn = OptScale(optscale, rule, target_score=0.9, confidence=0.9, max_completions=8 if SMOKE else 16)
    found = drawn.run(problem, seed=0)
    print(f"{rule}: {len(found.trajectories)} completions, answer {found.answer}; {found.decisions[-1].reason}")

# %% [markdown]
# ```console
# $ ppl-scaling evaluate math500/test.jsonl --id-field unique_id --limit 20 --output optscale.jsonl \
#       --method optscale:rule=optscale_0,target_score=0.95,confidence=0.95,max_completions=16 \
#       --preset optscale --aggregation mean --model deepseek-ai/DeepSeek-R1-Distill-Qwen-7B \
#       --prm Qwen/Qwen2.5-Math-PRM-7B --dtype bfloat16
# ```
#
# Three things to know. The context of Qwen2.5-Math-PRM is 4096 tokens: an answer that outgrows it counts as truncated and
# has no answer here. R1-Distill wants its instruction in the user's turn, as the released code has it:
# `system_prompt=None`, and the instruction in the problem. And the paper takes, for each data set and $N$, the best *test*
# accuracy over a grid of targets and confidences; choose yours on other problems.
#
# **Next:** run the first command on 20 problems of yours; then `curve` with `--budgets 1 4`, and look at the first point
# before anything else. Tutorial 8 has such a curve in full, on models that need no GPU.
