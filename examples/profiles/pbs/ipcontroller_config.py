# The controller, which runs on the machine that VisTrails runs on, for engines on other machines.
c = get_config()  # noqa: F821

# Listen on every network address of this machine.
c.IPController.ip = "*"

# Engines look for this machine by its host name. If they do not know it by that, say how they do:
# c.IPController.location = "192.168.1.10"

# The ports that a firewall must let in, from the machines that run engines. Without this the controller picks free ones.
# A controller takes 18 of them. When VisTrails starts it, those that are free: these are enough for five controllers, also of
# other profiles and users with the same range. ipcluster takes the first ones.
c.IPController.ports = list(range(10101, 10201))
