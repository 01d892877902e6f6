//! The sandbox's engine and modules. The first use builds them.

use std::sync::{Arc, LazyLock};

use serde::Serialize;
use towline::{
    content::Tree,
    render::wasm::{Engine, EngineSettings, Failed, Job, Module, Rendered},
};
use towline_testing::renderers;

pub struct Renderers {
    pub engine: Engine,
    pub kustomize: Module,
    pub helm: Module,
}

pub static RENDERERS: LazyLock<Renderers> = LazyLock::new(|| {
    let folder = renderers::folder();
    let engine = Engine::new(EngineSettings::default()).unwrap();
    let open =
        |name: &str| Module::open(&engine, name, &folder.join(format!("{name}.cwasm"))).unwrap();
    Renderers {
        kustomize: open("kustomize"),
        helm: open("helm"),
        engine: engine.clone(),
    }
});

pub fn render<R: Serialize>(
    module: &Module,
    tree: Arc<dyn Tree>,
    request: &R,
) -> Result<Rendered, Box<Failed>> {
    RENDERERS.engine.render(&Job::new(module, tree), request)
}

/// All documents as one stream, as upstream's programs print them.
pub fn stream(rendered: &Rendered) -> String {
    let bodies: Vec<_> = rendered
        .documents
        .iter()
        .map(|document| String::from_utf8_lossy(&document.body))
        .collect();
    bodies.join("---\n")
}
