"""Against the floor: the time of the filter over what no method can avoid.

The floor is ``model.generate`` for the same number of rows and tokens, sampling with the same temperature (1) and no
truncation, and then one batched pass of the reward model over the final texts with their prompt. It does not resample,
weigh, score in between or keep any account; its prompt is the same for all rows and prefilled for each, as ``generate``
does. It is measured with the cache that ``generate`` takes by default (``dynamic``) and, for texts of a fixed length, with
its ``static`` cache too, which must be asked for and is the faster one for some models.

*fixed*: the end of the text is suppressed on both sides and steps have a fixed number of tokens, so rows and tokens are the
same exactly. *natural*: real problems with the default boundary; ``generate`` may write as many tokens as the longest of our
rows had and its rows end as they come, so tokens are nearly the same, and both counts are reported.
"""

import torch
from _fixed_length import encode_prompt, pad
from _stopwatch import Stopwatch, alternate, timed

from ppl_scaling.inference import ParticleFilter
from ppl_scaling.models import LanguageModelStateSpace, OddsLikelihood


def generate(load, problem, num_rows, num_tokens, seed, cache=None):
    """New tokens of each row, shape (rows, tokens), by transformers' own loop."""
    prompt = torch.tensor([encode_prompt(load.tokenizer, problem)] * num_rows, device=load.device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        output = load.model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=num_tokens,
            do_sample=True,
            top_k=0,
            pad_token_id=_padding(load.tokenizer),
            cache_implementation=cache,
        )
    return output[:, prompt.shape[1] :]


def score(load, problem, steps_of_rows):
    """Logits of every row's last step, by one pass over the prompt and all steps in our layout (a line each)."""
    tokenizer = load.classifier_tokenizer
    prompt = encode_prompt(tokenizer, problem)
    rows = [
        prompt + [token for step in steps for token in tokenizer(step.strip() + "\n", add_special_tokens=False)["input_ids"]]
        for steps in steps_of_rows
    ]
    tokens, mask = (one.to(load.device) for one in pad(rows, _padding(tokenizer)))
    with torch.no_grad():
        logits = load.classifier(input_ids=tokens, attention_mask=mask).logits
    return logits[torch.arange(len(rows)), mask.sum(1) - 1].float()


def fixed_floor(load, problem, num_rows, num_steps, step_tokens, seed, cache):
    """The floor for texts of a fixed length."""
    tokens = generate(load, problem, num_rows, num_steps * step_tokens, seed, cache)
    if tokens.shape[1] != num_steps * step_tokens:
        raise RuntimeError(f"expected {num_steps * step_tokens} tokens a row, got {tokens.shape[1]}")
    texts = load.tokenizer.batch_decode(tokens.reshape(-1, step_tokens).tolist())
    return score(load, problem, [texts[row * num_steps : (row + 1) * num_steps] for row in range(num_rows)])


def fixed(load, num_particles, num_steps, step_tokens, *, repeats, budget):
    """One cell of the table: ours and both floors in turn."""
    problem = load.problems[0]
    filter_ = load.filter(num_particles, num_steps, step_tokens)
    parts = {"ours": [], "dynamic": [], "static": []}

    def ours(round_):
        watch = Stopwatch()
        with watch.models(load.model, load.classifier), watch.sessions(load.fixed, load.reward):
            seconds, result = timed(lambda: filter_.run(problem, seed=round_), load.device)
        load.check(result, num_particles, num_steps, step_tokens)
        parts["ours"].append({**watch.seconds, "filter and result": seconds - sum(watch.seconds.values())})
        return seconds

    def floor(name, cache):
        def measure(round_):
            watch = Stopwatch()
            with watch.models(load.model, load.classifier):
                seconds, _ = timed(
                    lambda: fixed_floor(load, problem, num_particles, num_steps, step_tokens, round_, cache), load.device
                )
            parts[name].append({**watch.seconds, "generate's loop and texts": seconds - sum(watch.seconds.values())})
            return seconds

        return measure

    sides = {"ours": ours, "dynamic": floor("dynamic", None), "static": floor("static", "static")}
    with load.endless():
        seconds = alternate(sides, repeats=repeats, budget=budget)
    best = {side: min(range(len(times)), key=times.__getitem__) for side, times in seconds.items()}
    return {
        "particles": num_particles,
        "steps": num_steps,
        "step_tokens": step_tokens,
        "seconds": seconds,
        "ratio": min(seconds["ours"]) / min(seconds["dynamic"]),
        "ratio_static": min(seconds["ours"]) / min(seconds["static"]),
        # On a GPU calls return before the work is done, and such parts would mislead.
        "parts": {side: parts[side][best[side]] for side in parts} if load.device.type == "cpu" else None,
    }


def natural(load, num_particles, num_problems, *, repeats, budget):
    """Real problems one after the other; the floor writes as many tokens as the longest of our rows."""
    problems = load.problems[:num_problems]
    model = LanguageModelStateSpace(load.natural, load.reward, OddsLikelihood())
    filter_ = ParticleFilter(model, num_particles=num_particles)
    longest, tokens = [], {"ours": [], "floor": []}

    def ours(round_):
        seconds, results = timed(lambda: [filter_.run(one, seed=round_) for one in problems], load.device)
        written = [[len(load.tokenizer(one.text)["input_ids"]) + 1 for one in each.trajectories] for each in results]
        longest[:] = [max(lengths) for lengths in written]
        tokens["ours"].append(sum(each.generated_tokens for each in results))
        return seconds

    def floor(round_):
        def work():
            rows = [
                generate(load, problem, num_particles, limit, round_)
                for problem, limit in zip(problems, longest, strict=True)
            ]
            for problem, output in zip(problems, rows, strict=True):
                texts = load.tokenizer.batch_decode(output, skip_special_tokens=True)
                score(load, problem, [text.splitlines() or [""] for text in texts])
            return rows

        seconds, rows = timed(work, load.device)
        tokens["floor"].append(sum(int((output != _padding(load.tokenizer)).sum()) for output in rows))
        return seconds

    seconds = alternate({"ours": ours, "floor": floor}, repeats=repeats, budget=budget)
    return {
        "particles": num_particles,
        "problems": num_problems,
        "seconds": seconds,
        "generated_tokens": tokens,
        "ratio": min(seconds["ours"]) / min(seconds["floor"]),
        "ratio_per_token": min(s / n for s, n in zip(seconds["ours"], tokens["ours"], strict=True))
        / min(s / n for s, n in zip(seconds["floor"], tokens["floor"], strict=True)),
    }


def _padding(tokenizer):
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
