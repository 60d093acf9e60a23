# Engines on other machines by SSH. Belongs, with ipcontroller_config.py, into the profile's folder, which
# `ipython profile create --parallel office` makes: ~/.ipython/profile_office.
c = get_config()  # noqa: F821

c.Cluster.engine_launcher_class = "ssh"

# The machines, and at most how many engines each gets; "user@alpha" and "alpha:2222" are understood too. Machines are
# filled in this order. Each must let you in with a key, without a password: try `ssh alpha true`.
c.SSHEngineSetLauncher.engines = {"alpha": 1, "beta": 8}

# The Python over there, with VisTrails and Parallel Flow in it.
c.SSHEngineSetLauncher.remote_python = "/opt/vistrails/bin/python"
