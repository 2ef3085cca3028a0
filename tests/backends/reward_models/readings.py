"""Plain, slow readings of the model cards: the whole conversation, one full pass, probabilities at the marked positions.

Each takes model, tokenizer, problem and steps, and gives the score of every step. They share nothing with the library but
the modules that hold the weights.
"""

import re

import torch


def token_classification(model, tokenizer, problem, steps):
    """tokenize_row of TRL's PRMTrainer: prompt, each step and each separator tokenised apart; labels at the separators."""
    tokens, ends = [tokenizer.bos_token_id, *tokenizer(problem, add_special_tokens=False)["input_ids"]], []
    for step in steps:
        tokens = tokens + tokenizer(step.strip(), add_special_tokens=False)["input_ids"]
        tokens = tokens + tokenizer("\n", add_special_tokens=False)["input_ids"]
        ends.append(len(tokens) - 1)
    return model(torch.tensor([tokens])).logits[0, ends].float().softmax(-1)[:, 1]


def qwen_math(model, tokenizer, problem, steps):
    """The card of Qwen/Qwen2.5-Math-PRM-7B, with the head written out."""
    steps = [step.strip() for step in steps]
    messages = [
        {"role": "system", "content": "Please reason step by step, and put your final answer within \\boxed{}."},
        {"role": "user", "content": problem},
        {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    tokens = torch.tensor([tokenizer.encode(text)])
    hidden = model.model(tokens)[0][0].float()
    weights = {name: weight.float() for name, weight in model.state_dict().items()}
    inner = (hidden @ weights["score.0.weight"].T + weights["score.0.bias"]).clamp(min=0)
    probabilities = (inner @ weights["score.2.weight"].T + weights["score.2.bias"]).softmax(-1)
    return probabilities[tokens[0] == tokenizer.encode("<extra_0>")[0], 1]


def skywork(model, tokenizer, problem, steps):
    """prepare_input of skywork-o1-prm-inference: lines encoded apart, the token of a line feed after each; value head."""
    tokens, ends = tokenizer.encode(tokenizer.bos_token + problem + "\n"), []
    line_feed = tokenizer.encode("\n")[-1]
    for step in steps:
        for line in step.strip().split("\n"):
            tokens = tokens + (tokenizer.encode(line) if line else []) + [line_feed]
        ends.append(len(tokens) - 1)
    hidden = model.model(torch.tensor([tokens]))[0][0, ends].float()
    weights = {name: weight.float() for name, weight in model.state_dict().items()}
    return (hidden @ weights["v_head.summary.weight"].T + weights["v_head.summary.bias"])[:, 0].sigmoid()


def math_shepherd(model, tokenizer, problem, steps):
    """The card of peiyi9979/math-shepherd-mistral-7b-prm."""
    candidates = tokenizer.encode("+ -")[1:]
    tag = tokenizer.encode("ки")[-1]
    numbered = [
        step.strip() if re.match(r"Step \d+:", step) else f"Step {number}: {step.strip()}"
        for number, step in enumerate(steps, start=1)
    ]
    output = "\n".join(f"{step} ки" for step in numbered)
    tokens = torch.tensor([tokenizer.encode(f"{problem} {output}")])
    scores = model(tokens).logits[:, :, candidates].float().softmax(-1)[:, :, 0]
    return scores[tokens == tag]


def rlhflow(model, tokenizer, problem, steps):
    """math-rm/prm_evaluate.py of RLHFlow/RLHF-Reward-Modeling: a pass for each step, read three tokens before the end."""
    candidates = [tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]]
    conversation, scores = [], []
    for number, step in enumerate(steps):
        text = problem + " " + step.strip() if number == 0 else step.strip()
        conversation += [{"role": "user", "content": text}, {"role": "assistant", "content": "+"}]
        tokens = tokenizer.apply_chat_template(conversation, return_tensors="pt", return_dict=True)["input_ids"]
        scores.append(model(tokens).logits[:, -3, candidates].float().softmax(-1)[0, 0])
    return torch.stack(scores)


def sequence_classification(model, tokenizer, problem, steps):
    """One pass over the conversation for each prefix; the model chooses the position."""
    scores = []
    for end in range(1, len(steps) + 1):
        messages = [
            {"role": "user", "content": problem},
            {"role": "assistant", "content": "".join(steps[:end]).strip()},
        ]
        tokens = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)["input_ids"]
        logits = model(tokens).logits[0].float()
        scores.append(logits.sigmoid()[0] if len(logits) == 1 else logits.softmax(-1)[1])
    return torch.stack(scores)


def judge(model, tokenizer, problem, steps):
    """Probability of all tokens for yes among those for yes and no, one pass for each prefix."""
    vocabulary = tokenizer.get_vocab()
    yes = [vocabulary[word] for word in ("Yes", "ĠYes") if word in vocabulary]
    no = [vocabulary[word] for word in ("No", "ĠNo") if word in vocabulary]
    scores = []
    for end in range(1, len(steps) + 1):
        prompt = f"Q: {problem}\nA: {''.join(steps[:end]).strip()}\nRight?"
        messages = [{"role": "user", "content": prompt}]
        tokens = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        law = model(tokens["input_ids"]).logits[0, -1].float().softmax(-1)
        scores.append(law[yes].sum() / (law[yes].sum() + law[no].sum()))
    return torch.stack(scores)
