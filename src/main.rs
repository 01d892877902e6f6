fn main() {
    for c in towline::api::crds() {
        println!("{}", serde_json::to_string_pretty(&c).unwrap());
    }
}
