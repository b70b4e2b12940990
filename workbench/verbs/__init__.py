"""What a person asks for. Notebooks and the command line call the same verbs.

Each verb joins the rooms: it reads the data, starts a process, or shows a widget. The notebook's
own process never loads a model. Imports go down this list: load_data, model_names, reward_specs,
train, batch, gold, reward_evaluation, optimisation_limits, plan_memory, run_preflight,
verify_model, publish, views, draw_pairs, rounds, write_report, draw_frontier. :mod:`workbench`
names the verbs.
"""
