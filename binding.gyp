{
  "targets": [
    {
      "target_name": "vhost_net",
      "sources": [
        "native/addon.cc",
        "native/bus_guard.cc",
        "native/call.cc",
        "native/descriptor.cc",
        "native/detach.cc",
        "native/environment.cc",
        "native/errors.cc",
        "native/eventfd.cc",
        "native/frames.cc",
        "native/interface_request.cc",
        "native/memory.cc",
        "native/netdev.cc",
        "native/network_namespace.cc",
        "native/packet.cc",
        "native/passing.cc",
        "native/poller.cc",
        "native/tun.cc",
        "native/vhost.cc"
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "NAPI_VERSION=8",
        "NAPI_DISABLE_CPP_EXCEPTIONS",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
        "NODE_ADDON_API_DISABLE_DEPRECATED"
      ],
      "cflags_cc!": ["-std=gnu++14", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=gnu++17", "-fno-exceptions", "-fvisibility=hidden", "-Wall", "-Wextra"],
      "ldflags": ["-pthread"]
    }
  ]
}
