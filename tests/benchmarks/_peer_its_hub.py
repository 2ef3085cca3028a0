"""its_hub's ``ParticleFiltering`` with a language model and a reward model in process.

its_hub (1.2.0) is meant for models behind a server: its language model takes chat messages and gives texts, its reward model
takes a prompt and responses. Both of its abstract classes are implemented here with transformers, as fast as that interface
allows:

- One batched ``generate`` for all particles at each step, and one batched reward-model pass, as ``ParticleFiltering`` asks
  for them (``_apropagate`` hands over whole batches).
- The interface is stateless, so each step's call holds the text so far, and it is encoded again: by the language model
  and by the reward model. Within a call ``generate`` uses its cache. (A server with prefix caching would save part of it.)
- ``StepGeneration(tokens_per_step=...)`` is its own way to make steps of a fixed number of tokens: for times. For accuracy
  (``solve``) a step is a line (``step_token``), and an answer ends where the model ends it: the text of the end token is the
  ``stop_token``. It puts no limit on the tokens of a step, so the language model does, as a server would.
- ``StepGeneration`` compares the number of steps *before* the new one with ``max_steps``, so it writes ``max_steps + 1`` of
  them; it is given one less, for the same number of steps as everyone.
- Its weight at a step is ``logit(score)`` and it resamples at every step; ours is given the likelihood that does the same.
"""

import torch
from _fixed_length import pad, render
from its_hub.api import AbstractLanguageModel, AbstractProcessRewardModel
from its_hub.core.algorithms.particle_gibbs import ParticleFiltering
from its_hub.core.lms.step_generation import StepGeneration


class InProcessLanguageModel(AbstractLanguageModel):
    """Batches of chat messages to batches of texts."""

    def __init__(self, models):
        self.models = models
        self.generated_tokens = 0
        self.max_step_tokens = None

    async def agenerate(self, messages, stop=None, max_completion_tokens=None, temperature=None, **kwargs):
        tokenizer = self.models.tokenizer
        special = tokenizer.chat_template is None
        texts = [render(tokenizer, one[0].content) + (one[1].content if len(one) > 1 else "") for one in messages]
        # The chat template writes the special tokens of the text itself.
        encoded = [tokenizer(text, add_special_tokens=special)["input_ids"] for text in texts]
        padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        tokens, mask = (one.to(self.models.device) for one in pad(encoded, padding, left=True))
        ends = self._ends(stop)
        context = getattr(self.models.model.config, "max_position_embeddings", None) or 1 << 30
        room = min(max_completion_tokens or self.max_step_tokens, context - tokens.shape[1])
        if room < 1:  # what is too long ends here
            return [{"role": "assistant", "content": tokenizer.eos_token} for _ in texts]
        with torch.no_grad():
            output = self.models.model.generate(
                input_ids=tokens,
                attention_mask=mask,
                max_new_tokens=room,
                do_sample=True,
                temperature=temperature,
                top_k=0,
                pad_token_id=padding,
                **({"eos_token_id": sorted(ends)} if stop else {}),
            )
        new = [_upto(row, ends) for row in output[:, tokens.shape[1] :].tolist()]
        self.generated_tokens += sum(map(len, new))
        return [{"role": "assistant", "content": text} for text in tokenizer.batch_decode(new)]

    def _ends(self, stop):
        """Tokens after which a row has nothing but padding: those of the model, and the one that ends a step."""
        ends = self.models.model.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends or ())
        if stop:
            (token,) = self.models.tokenizer(stop, add_special_tokens=False)["input_ids"]
            ends.add(token)
        return ends


def _upto(row, ends):
    return row[: next((place + 1 for place, token in enumerate(row) if token in ends), len(row))]


class InProcessRewardModel(AbstractProcessRewardModel):
    """Score of the last step of each response."""

    def __init__(self, models):
        self.models = models

    def score(self, prompt_or_messages, steps):
        return torch.tensor(self.models.score_logits(prompt_or_messages, steps)).sigmoid().tolist()

    async def ascore(self, prompt_or_messages, steps):
        return self.score(prompt_or_messages, steps)


class ItsHub:
    """The runner that ``_peers_main.py`` calls."""

    def __init__(self, models):
        self.language_model = InProcessLanguageModel(models)
        self.reward_model = InProcessRewardModel(models)

    def run(self, problem, num_particles, num_steps, step_tokens):
        """One run on steps of a fixed length."""
        self.language_model.generated_tokens = 0
        steps = StepGeneration(max_steps=num_steps - 1, tokens_per_step=step_tokens, temperature=1.0)
        algorithm = ParticleFiltering(steps, self.reward_model)
        result = algorithm.infer(self.language_model, problem, budget=num_particles, return_response_only=False)
        if result.steps_used_lst != [num_steps] * num_particles:
            raise RuntimeError(f"expected {num_steps} steps of every particle, got {result.steps_used_lst}")
        return {"generated_tokens": self.language_model.generated_tokens}

    def solve(self, problem, num_particles, max_steps, max_step_tokens):
        """One run on steps that are lines; the text that it selects, as its defaults do it: the largest weight."""
        self.language_model.generated_tokens = 0
        self.language_model.max_step_tokens = max_step_tokens
        steps = StepGeneration(
            max_steps=max_steps - 1,
            step_token="\n",
            stop_token=self.language_model.models.tokenizer.eos_token,
            temperature=1.0,
            include_stop_str_in_output=True,
        )
        algorithm = ParticleFiltering(steps, self.reward_model)
        result = algorithm.infer(self.language_model, problem, budget=num_particles, return_response_only=False)
        return {
            "text": result.the_one["content"],
            "num_steps": result.steps_used_lst,
            "log_weights": list(map(float, result.log_weights_lst)),
            "generated_tokens": self.language_model.generated_tokens,
        }
