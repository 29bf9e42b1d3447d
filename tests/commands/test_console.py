from dreamerv2_transfer import commands


def test_a_command_may_be_typed_like_its_script(capsys):
    assert commands.main(["train_dqn", "--configs", "small"]) == 2
    assert commands.main(["port_checkpoint", "--to", "x"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("Error: Name the block dqn")
    assert errors[1].startswith("Error: Name an old logdir")
