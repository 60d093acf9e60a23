// Stands in for the script of Google Maps: markers, circles and heat by Mercator's projection, on a canvas that says where its middle is.
(function () {
  "use strict";

  class LatLng {
    constructor(lat, lng) {
      this.lat = lat;
      this.lng = lng;
    }
  }

  class Map {
    constructor(element, options) {
      const canvas = document.createElement("canvas");
      canvas.width = element.clientWidth;
      canvas.height = element.clientHeight;
      element.appendChild(canvas);
      this.pen = canvas.getContext("2d");
      this.pen.fillStyle = "rgb(229, 227, 223)";
      this.pen.fillRect(0, 0, canvas.width, canvas.height);
      this.pen.fillStyle = "rgb(90, 90, 90)";
      this.pen.fillText(`${options.center.lat.toFixed(3)}, ${options.center.lng.toFixed(3)}`, 4, canvas.height - 4);
      this.world = 256 * 2 ** options.zoom; // pixels around the equator
      const middle = this.onWorld(options.center);
      this.corner = [middle[0] - canvas.width / 2, middle[1] - canvas.height / 2];
    }

    onWorld(at) {
      const north = Math.log(Math.tan(Math.PI / 4 + (at.lat * Math.PI) / 360));
      return [this.world * (at.lng / 360 + 0.5), this.world * (0.5 - north / (2 * Math.PI))];
    }

    pixel(at) {
      const [x, y] = this.onWorld(at);
      return [x - this.corner[0], y - this.corner[1]];
    }

    disc(at, radius, fill, fillOpacity, stroke, strokeOpacity, strokeWeight) {
      const pen = this.pen;
      pen.beginPath();
      pen.arc(...this.pixel(at), radius, 0, 2 * Math.PI);
      pen.globalAlpha = fillOpacity;
      pen.fillStyle = fill;
      pen.fill();
      pen.globalAlpha = strokeOpacity;
      pen.strokeStyle = stroke;
      pen.lineWidth = strokeWeight;
      pen.stroke();
      pen.globalAlpha = 1;
    }
  }

  function or(value, otherwise) {
    return value === undefined || value === null ? otherwise : value;
  }

  class Marker {
    constructor(options) {
      const icon = options.icon;
      if (icon) {
        const stroke = [or(icon.strokeColor, "black"), or(icon.strokeOpacity, 1), or(icon.strokeWeight, 1)];
        options.map.disc(options.position, or(icon.scale, 1), icon.fillColor, or(icon.fillOpacity, 0), ...stroke);
      } else {
        const [x, y] = options.map.pixel(options.position);
        const pen = options.map.pen; // a pin
        pen.fillStyle = "rgb(234, 67, 53)";
        pen.beginPath();
        pen.arc(x, y - 20, 8, Math.PI, 2 * Math.PI);
        pen.lineTo(x, y);
        pen.fill();
      }
    }

    setOptions() {}

    setTitle() {}
  }

  class Circle {
    constructor(options) {
      const around = 40075017 * Math.cos((options.center.lat * Math.PI) / 180); // the metres of its parallel
      const radius = (options.radius * options.map.world) / around;
      const stroke = [or(options.strokeColor, "black"), or(options.strokeOpacity, 1), or(options.strokeWeight, 3)];
      options.map.disc(options.center, radius, or(options.fillColor, "black"), or(options.fillOpacity, 0.5), ...stroke);
    }
  }

  class HeatmapLayer {
    constructor(options) {
      const most = or(options.maxIntensity, Math.max(...options.data.map((each) => each.weight)));
      const radius = or(options.radius, 10);
      const pen = options.map.pen;
      for (const { location, weight } of options.data) {
        const [x, y] = options.map.pixel(location);
        const heat = pen.createRadialGradient(x, y, 0, x, y, radius);
        heat.addColorStop(0, `rgba(255, 0, 0, ${Math.min(1, weight / most)})`);
        heat.addColorStop(1, "rgba(0, 255, 0, 0)");
        pen.globalAlpha = or(options.opacity, 0.6);
        pen.fillStyle = heat;
        pen.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
        pen.globalAlpha = 1;
      }
    }
  }

  window.google = {
    maps: {
      Circle,
      LatLng,
      Map,
      Marker,
      SymbolPath: { CIRCLE: 0 },
      event: { addDomListener: (element, name, listener) => element.addEventListener(name, listener) },
      visualization: { HeatmapLayer },
    },
  };
})();
